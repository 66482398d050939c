"""The relay on real processes: a database server, the simulators and the daemon, each one its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, field

from daemon.lab.serving import LabAccount

RELEVO = Path(sys.executable).with_name("relevo")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
ADMIN_TOKEN = "a-token-of-the-tests"

CONFIG = """
[admin]
port = {admin_port}
[conversation]
coalesce_s = 0.2
recover_every_s = 1.0
[monitor]
poll_every_s = 0.5
[outbox]
sweep_every_s = 0.3
settle_unknown_after_s = 1.0
certain_after_s = 3.0
[twilio]
request_timeout_s = 5.0
[whatsapp]
missed_check_every_s = 2.0
missed_after_s = 1.0
opening_template_sid = "{template_sid}"
opening_template_variables = {{ "1" = "{{{{ name or 'cliente' }}}}", "2" = "{{{{ summary or 'su consulta' }}}}" }}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@define(eq=False, kw_only=True)
class Relay:
    """Starts, kills and asks the processes of one test.

    Attributes:
        database_url: whose server belongs to the test session.
        folder: for settings and logs.
    """

    database_url: str
    folder: Path
    http: httpx.AsyncClient
    webhooks: bool = True
    account: LabAccount = field(factory=LabAccount)
    public_port: int = field(factory=free_port)
    admin_port: int = field(factory=free_port)
    elevenlabs_port: int = field(factory=free_port)
    twilio_port: int = field(factory=free_port)
    settings: str = ""
    _processes: dict[str, "subprocess.Popen[bytes]"] = field(factory=dict)

    @property
    def elevenlabs_lab(self) -> str:
        return f"http://127.0.0.1:{self.elevenlabs_port}/lab"

    @property
    def twilio_lab(self) -> str:
        return f"http://127.0.0.1:{self.twilio_port}/lab"

    @property
    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    async def start_lab(self) -> None:
        arguments = ["--elevenlabs-port", str(self.elevenlabs_port), "--twilio-port", str(self.twilio_port)]
        arguments += ["--public-url", f"http://127.0.0.1:{self.public_port}"]
        arguments += ["--webhooks" if self.webhooks else "--no-webhooks"]
        self._start("lab", ["lab", *arguments], {})
        await self._until_ok("lab", f"{self.elevenlabs_lab}")
        await self._until_ok("lab", f"{self.twilio_lab}")

    def configuration(self) -> tuple[Path, Mapping[str, str]]:
        """The file that a daemon of this relay is given, and its environment."""
        config = self.folder / "config.toml"
        config.write_text(
            CONFIG.format(admin_port=self.admin_port, template_sid=self.account.opening_template_sid)
            + self.settings
        )
        environment = {
            "PORT": str(self.public_port),
            "BASE_PUBLIC_URL": f"http://127.0.0.1:{self.public_port}",
            "DATABASE_URL": self.database_url,
            **self.account.environment(
                elevenlabs_url=f"http://127.0.0.1:{self.elevenlabs_port}",
                twilio_url=f"http://127.0.0.1:{self.twilio_port}",
            ),
            "RELEVO_ADMIN_TOKEN": ADMIN_TOKEN,
        }
        return config, environment

    async def start_daemon(self) -> None:
        config, environment = self.configuration()
        self._start("daemon", ["run", "--config", str(config)], environment)
        await self._until_ok("daemon", f"http://127.0.0.1:{self.admin_port}/readyz")

    def process_id(self, name: str) -> int:
        """Of `lab` or `daemon`."""
        return self._processes[name].pid

    def kill_daemon(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        process = self._processes.pop("daemon")
        process.kill()
        process.wait()

    async def stop_daemon(self) -> int:
        """SIGTERM; the exit code once it has drained."""
        process = self._processes.pop("daemon")
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(STOP_TIMEOUT_S):
            return await trio.to_thread.run_sync(process.wait)

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    async def post(self, url: str, body: Mapping[str, Any] | None = None) -> Any:
        response = await self.http.post(url, json=dict(body or {}))
        response.raise_for_status()
        return response.json() if response.content else None

    async def get(self, url: str, **params: str | int) -> Any:
        response = await self.http.get(url, params=params)
        response.raise_for_status()
        return response.json()

    async def status(self) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        response = await self.http.get(f"http://127.0.0.1:{self.admin_port}/admin/status", headers=headers)
        response.raise_for_status()
        return response.json()

    # --- what happens in the simulators ---

    async def submit_batch(self, phones: list[str], *, outcome: str = "completed") -> str:
        """One batch of calls to these numbers, which end by themselves at once."""
        recipients = [
            {
                "id": f"row-{number}",
                "phone_number": phone,
                "conversation_initiation_client_data": {
                    "dynamic_variables": {"name": f"Persona {number}", "product": "Software IA"}
                },
                "script": {"outcome": outcome},
            }
            for number, phone in enumerate(phones)
        ]
        batch = await self.post(
            f"{self.elevenlabs_lab}/batches",
            {
                "call_name": "prueba",
                "agent_id": self.account.voice_agent_id,
                "agent_phone_number_id": "phnum_lab",
                "recipients": recipients,
            },
        )
        batch_id: str = batch["id"]
        return batch_id

    async def write(self, phone: str, body: str) -> None:
        await self.post(f"{self.twilio_lab}/customers/{phone}/messages", {"body": body})

    async def inbox(self, phone: str, *, count: int = 0, wait_s: float = 0.0) -> list[str]:
        """What a customer's telephone has received, in the order of arrival, once there are `count` or time is up."""
        found = await self.get(
            f"{self.twilio_lab}/customers/{phone}/messages", of="inbox", count=count, wait_s=str(wait_s)
        )
        return [message["body"] for message in found["messages"]]

    def _start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [str(RELEVO), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], **environment},
            )

    async def _until_ok(self, name: str, url: str) -> None:
        """A process has no other way to say that it listens."""
        with trio.fail_after(START_TIMEOUT_S):
            while True:
                if self._processes[name].poll() is not None:
                    raise RuntimeError((self.folder / f"{name}.log").read_text())
                try:
                    if (await self.http.get(url)).is_success:
                        return
                except httpx.TransportError:
                    pass
                await trio.sleep(0.05)


@asynccontextmanager
async def open_relay(database_url: str, folder: Path, **options: Any) -> AsyncIterator[Relay]:
    # A server may close a connection that was idle in the moment that something is asked on it.
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=70.0, limits=limits) as http:
        relay = Relay(database_url=database_url, folder=folder, http=http, **options)
        try:
            await relay.start_lab()
            await relay.start_daemon()
            yield relay
        finally:
            relay.stop()
