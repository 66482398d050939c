"""What is measured: a program in a process of its own, and what the kernel has counted for it."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import trio
from attrs import define, field, frozen

from daemon.lab.serving import LabAccount

ADMIN_TOKEN = "a-token-of-the-bench"
START_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.01
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_RELEVO = Path(sys.executable).with_name("relevo")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@frozen
class Memory:
    rss_kib: int
    pss_kib: int


def cpu_s(pid: int) -> float:
    """User and system time of a process, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def own_cpu_s() -> float:
    return cpu_s(os.getpid())


def cpu_of_family_s(pid: int) -> float:
    """The same of a process and its children, those that have ended included."""
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = sum(int(ticks) for ticks in own[11:15]) / _TICKS_PER_S
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total + sum(cpu_s(int(child)) for child in children)


def memory_of(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return Memory(rss_kib=sizes["Rss"], pss_kib=sizes["Pss"])


@define(eq=False, kw_only=True)
class Program:
    """The daemon or the floor, from its start to its kill.

    Attributes:
        ready_url: answers 200, or 404 for want of such a route, as soon as the program is ready.
        metrics_url: None where there are none.
    """

    folder: Path
    arguments: Sequence[str]
    environment: Mapping[str, str]
    ready_url: str
    metrics_url: str | None = None
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "program.log").read_text()

    async def start(self) -> float:
        """Start the process; seconds until it was ready."""
        began_at = trio.current_time()
        with (self.folder / "program.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it outlives this function
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], **self.environment},
            )
        async with httpx.AsyncClient() as http:
            with trio.fail_after(START_TIMEOUT_S):
                # A process has no other way to say that it listens.
                while not await self._is_ready(http):  # noqa: ASYNC110
                    await trio.sleep(LOOK_EVERY_S)
        return trio.current_time() - began_at

    def kill(self) -> None:
        """SIGKILL; nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(self.log)
        try:
            response = await http.get(self.ready_url)
        except httpx.TransportError:
            return False
        return response.status_code in {200, 404}


@frozen(kw_only=True)
class Surroundings:
    """What a program is told of the others."""

    folder: Path
    database_url: str
    vendors_url: str
    public_port: int = field(factory=free_port)
    admin_port: int = field(factory=free_port)

    def daemon(self, settings: str = "") -> Program:
        config = self.folder / "config.toml"
        config.write_text(f"[admin]\nport = {self.admin_port}\n{settings}")
        return Program(
            folder=self.folder,
            arguments=[str(_RELEVO), "run", "--config", str(config)],
            environment=self._environment(),
            ready_url=f"http://127.0.0.1:{self.admin_port}/readyz",
            metrics_url=f"http://127.0.0.1:{self.admin_port}/metrics",
        )

    def floor(self) -> Program:
        return Program(
            folder=self.folder,
            arguments=[sys.executable, "-m", "tests.bench.floor"],
            environment=self._environment(),
            ready_url=f"http://127.0.0.1:{self.public_port}/",
        )

    def _environment(self) -> Mapping[str, str]:
        account = LabAccount()
        return {
            "PORT": str(self.public_port),
            "BASE_PUBLIC_URL": f"http://127.0.0.1:{self.public_port}",
            "DATABASE_URL": self.database_url,
            "ELEVENLABS_BASE_URL": self.vendors_url,
            "ELEVENLABS_API_KEY": account.api_key,
            "DEFAULT_AGENT_ID": account.text_agent_id,
            "TWILIO_BASE_URL": self.vendors_url,
            "TWILIO_ACCOUNT_SID": account.account_sid,
            "TWILIO_AUTH_TOKEN": account.auth_token,
            "TWILIO_WHATSAPP_FROM": account.whatsapp_from,
            "RELEVO_ADMIN_TOKEN": ADMIN_TOKEN,
        }
