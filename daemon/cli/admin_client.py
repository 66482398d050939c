"""How the operator's commands reach the running daemon: its admin listener."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from attrs import frozen

from daemon.cli.failure import CommandFailedError
from daemon.cli.screen import printable
from daemon.settings import Settings

TIMEOUT_S = 30.0
NEEDS = ("RELEVO_ADMIN_TOKEN",)
"""The only thing these commands must have."""


@frozen
class AdminClient:
    """Calls the admin routes; every failure becomes a sentence."""

    http: httpx.Client

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = self.http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise CommandFailedError(
                f"the daemon does not answer at {self.http.base_url}: is it running? ({error})"
            ) from error
        if not response.is_success:
            raise CommandFailedError(_problem(response))
        try:
            return printable(response.json())
        except json.JSONDecodeError as error:
            raise CommandFailedError(f"what answers at {self.http.base_url} is no Relevo daemon") from error


@contextmanager
def admin_client(settings: Settings) -> Iterator[AdminClient]:
    host = settings.admin.host
    # An address that means "all of them" to listen on is none to call.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    with httpx.Client(
        base_url=f"http://{host}:{settings.admin.port}",
        headers={"Authorization": f"Bearer {settings.secrets.admin_token}"},
        timeout=TIMEOUT_S,
        trust_env=False,
    ) as http:
        yield AdminClient(http)


def _problem(response: httpx.Response) -> str:
    if response.status_code == httpx.codes.UNAUTHORIZED:
        return "the daemon does not take this RELEVO_ADMIN_TOKEN: it was started with another one"
    try:
        message = printable(response.json()["error"]["message"])
    except (json.JSONDecodeError, KeyError, TypeError):
        message = response.reason_phrase
    return f"{message} (HTTP {response.status_code})"
