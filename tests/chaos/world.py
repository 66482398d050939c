"""One world: a PostgreSQL, the lab and the daemon, each a process of its own, and nothing between them that is ours."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import trio
from attrs import define, field, frozen

from actors.runtime.fault_points import FaultPoint
from daemon.lab.serving import LabAccount
from tests.chaos.database import Server
from tests.integration.relay import free_port

ADMIN_TOKEN = "a-token-of-the-chaos"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.05
REQUEST_TIMEOUT_S = 90.0
DRAIN_S = 10.0
_ROOT = Path(__file__).parents[2]
_RELEVO = str(Path(sys.executable).with_name("relevo"))

Settings = Mapping[str, Mapping[str, Any]]

# Shorter than what ships, so that what takes a minute there takes seconds here; nothing is switched off.
SETTINGS: Settings = {
    "http": {"drain_s": DRAIN_S, "request_timeout_s": 5},
    "store": {"statement_timeout_s": 4, "acquire_timeout_s": 3, "connect_timeout_s": 5},
    "elevenlabs": {
        "start_timeout_s": 4,
        "request_timeout_s": 3,
        "refused_retry_first_s": 0.5,
        "refused_retry_max_s": 2,
        "connects_per_second": 50,
    },
    "twilio": {"request_timeout_s": 3},
    "whatsapp": {
        "missed_check_every_s": 2.5,
        "missed_after_s": 1,
        "person_every_s": 0,
        "opening_template_sid": LabAccount().opening_template_sid,
        "opening_template_variables": {"1": "{{ name or 'cliente' }}", "2": "{{ summary or 'su consulta' }}"},
        "reopen_template_sid": LabAccount().opening_template_sid,
        "reopen_template_variables": {"1": "{{ name or 'cliente' }}", "2": "su pregunta"},
    },
    "conversation": {
        "coalesce_s": 0.2,
        "coalesce_max_s": 2,
        "reply_timeout_s": 3,
        "settle_s": 0.5,
        "retry_first_s": 0.2,
        "retry_max_s": 1,
        "attempts_max": 3,
        "unanswered_retry_first_s": 1.5,
        "unanswered_retry_max_s": 3,
        "recover_every_s": 1,
        "inbound_per_minute": 6000,
    },
    "monitor": {"poll_every_s": 1, "analysis_timeout_s": 4},
    "outbox": {
        "sweep_every_s": 0.3,
        "settle_unknown_after_s": 0.5,
        "certain_after_s": 5,
        "retry_first_s": 0.3,
        "retry_max_s": 2,
    },
    "contact_hours": {"enforce": False},
}


@frozen
class Kill:
    """The process ends itself when it passes this point for the n-th time."""

    point: FaultPoint
    passing: int


@define(eq=False, kw_only=True)
class World:
    """Starts, hurts and asks the processes.

    Attributes:
        folder: for settings, logs and the database.
        settings: beside `SETTINGS`.
        plant: a mistake that the daemon carries.
        kills: SIGKILLs that the daemon has died of.
    """

    folder: Path
    server: Server
    http: httpx.AsyncClient
    seed: int = 0
    settings: Settings = field(factory=dict)
    plant: str | None = None
    kills: int = field(default=0, init=False)
    account: LabAccount = field(factory=LabAccount)
    public_port: int = field(factory=free_port, init=False)
    admin_port: int = field(factory=free_port, init=False)
    elevenlabs_port: int = field(factory=free_port, init=False)
    twilio_port: int = field(factory=free_port, init=False)
    _lab: trio.Process | None = field(default=None, init=False)
    _daemon: trio.Process | None = field(default=None, init=False)

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.public_port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def agent_lab(self) -> str:
        return f"http://127.0.0.1:{self.elevenlabs_port}/lab"

    @property
    def twilio_lab(self) -> str:
        return f"http://127.0.0.1:{self.twilio_port}/lab"

    # --- the lab ---

    async def start_lab(self) -> None:
        ports = ["--elevenlabs-port", str(self.elevenlabs_port), "--twilio-port", str(self.twilio_port)]
        arguments = ["lab", *ports, "--public-url", self.public_url, "--seed", str(self.seed)]
        self._lab = await self._open("lab", [_RELEVO, *arguments], {})
        for url in (self.agent_lab, self.twilio_lab):
            if not await self._answers(self._lab, url):
                raise RuntimeError(f"the lab did not start:\n{(self.folder / 'lab.log').read_text()}")

    async def post(self, url: str, body: Mapping[str, Any] | None = None) -> Any:
        response = await self.http.post(url, json=dict(body or {}))
        response.raise_for_status()
        return response.json() if response.content else None

    async def get(self, url: str, **params: str | int) -> Any:
        response = await self.http.get(url, params=params)
        response.raise_for_status()
        return response.json()

    async def switch_on(self, lab: str, name: str, **fault: Any) -> None:
        (await self.http.put(f"{lab}/faults/{name}", json=fault)).raise_for_status()

    async def switch_all_off(self) -> None:
        for lab in (self.agent_lab, self.twilio_lab):
            (await self.http.delete(f"{lab}/faults")).raise_for_status()

    # --- the daemon ---

    @property
    def pid(self) -> int:
        return self._require_daemon().pid

    @property
    def is_daemon_alive(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is None

    async def start_daemon(self, *, kill_at: Kill | None = None) -> None:
        """Start the process, when that before it has ended; see `until_ready`."""
        if self._daemon is not None:
            await self._daemon.wait()
        config = self.folder / "config.toml"
        admin = {"admin": {"port": self.admin_port}}
        config.write_text(_toml(_merged(SETTINGS, self.settings, admin)))
        wound = ["--clock", str(self.clock_file)] if self.clock_file.exists() else []
        wound += ["--plant", self.plant] if self.plant else []
        if kill_at is not None:
            wound += ["--kill-at", kill_at.point.value, "--passing", str(kill_at.passing)]
        arguments = [sys.executable, "-m", "tests.chaos.victim", *wound, "--", "run", "--config", str(config)]
        self._daemon = await self._open("daemon", arguments, self._environment())

    async def until_ready(self) -> bool:
        """False when the process ended before it was ready, and when it is not in time."""
        return await self._answers(self._require_daemon(), f"{self.admin_url}/readyz")

    async def run_daemon(self) -> None:
        """Have a daemon that serves; nothing happens when there is one."""
        if not self.is_daemon_alive:
            await self.start_daemon()
            if not await self.until_ready():
                raise RuntimeError(f"the daemon did not start; see {self.folder / 'daemon.log'}")

    async def dies_within(self, seconds: float) -> bool:
        """Wait for the daemon to die of its wound; false when it lives on."""
        daemon = self._require_daemon()
        with trio.move_on_after(seconds):
            await daemon.wait()
        if daemon.returncode is None:
            return False
        self.kills += daemon.returncode == -signal.SIGKILL
        return True

    async def kill_daemon(self) -> None:
        """SIGKILL; nothing happens when it does not run."""
        if self.is_daemon_alive:
            self._require_daemon().kill()
            await self.dies_within(STOP_TIMEOUT_S)

    async def discard_daemon(self) -> None:
        """End whatever runs; not one of the kills that count."""
        kills = self.kills
        await self.kill_daemon()
        self.kills = kills

    def send_signal(self, number: signal.Signals) -> None:
        self._require_daemon().send_signal(number)

    async def exit_code(self, *, within_s: float) -> int | None:
        """None when the process is still there after that."""
        with trio.move_on_after(within_s):
            return await self._require_daemon().wait()
        return None

    async def status(self) -> Any:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        response = await self.http.get(f"{self.admin_url}/admin/status", headers=headers)
        response.raise_for_status()
        return response.json()

    # --- the wall clock ---

    @property
    def clock_file(self) -> Path:
        return self.folder / "clock"

    def set_clock(self, offset_s: float) -> None:
        """Where the daemon's wall clock stands from now on; a daemon started before the first call has no such
        clock.
        """
        self.clock_file.write_text(str(offset_s))
        if self.is_daemon_alive:
            self.send_signal(signal.SIGUSR1)

    # --- processes ---

    async def stop(self) -> None:
        """End whatever runs, cancelled or not."""
        with trio.CancelScope(shield=True):
            for process in (self._daemon, self._lab):
                if process is not None:
                    process.kill()
                    await process.wait()

    def _require_daemon(self) -> trio.Process:
        if self._daemon is None:
            raise RuntimeError("the daemon was never started")
        return self._daemon

    def _environment(self) -> dict[str, str]:
        return {
            "PORT": str(self.public_port),
            "BASE_PUBLIC_URL": self.public_url,
            "DATABASE_URL": self.server.url,
            **self.account.environment(
                elevenlabs_url=f"http://127.0.0.1:{self.elevenlabs_port}",
                twilio_url=f"http://127.0.0.1:{self.twilio_port}",
            ),
            "RELEVO_ADMIN_TOKEN": ADMIN_TOKEN,
        }

    async def _open(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> trio.Process:
        with (self.folder / f"{name}.log").open("ab") as log:
            return await trio.lowlevel.open_process(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT), **environment},
            )

    async def _answers(self, process: trio.Process, url: str) -> bool:
        """A process has no other way to say that it listens."""
        with trio.move_on_after(START_TIMEOUT_S):
            while process.poll() is None:
                with suppress(httpx.TransportError):
                    if (await self.http.get(url)).is_success:
                        return True
                await trio.sleep(LOOK_EVERY_S)
        return False


@asynccontextmanager
async def open_world(
    folder: Path,
    *,
    seed: int,
    settings: Settings | None = None,
    plant: str | None = None,
    disk: Path | None = None,
) -> AsyncIterator[World]:
    """A world in which everything runs but the daemon. `disk`: where the database lives, else below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - at once
    server = Server((disk or folder) / "pg")
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=100, keepalive_expiry=2)
    # A request to a process that is killed meanwhile fails; the lab and its long answers do not.
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, limits=limits, trust_env=False) as http:
        world = World(
            folder=folder, server=server, http=http, seed=seed, settings=settings or {}, plant=plant
        )
        try:
            await server.start()
            await world.start_lab()
            yield world
        finally:
            await world.stop()
            await server.stop()


def _merged(*layers: Settings) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return merged


def _toml(settings: Settings) -> str:
    lines: list[str] = []
    for section, keys in settings.items():
        lines += [f"[{section}]", *(f"{name} = {_value(value)}" for name, value in keys.items())]
    return "\n".join([*lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f'"{name}" = {_value(inner)}' for name, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
