"""What a bridged call costs: CPU for a second of it, and how much later each side is heard for it."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field, frozen

from tests.bench.call_peers import WARM_UP_S
from tests.bench.load import SpoiltError
from tests.bench.processes import cpu_s
from tests.bench.report import Figure

WINDOWS = 3
WINDOW_S = 5.0
BRIDGE, FLOOR = "calls_bridge", "calls_floor"
_START_S = 60.0


@define(eq=False)
class _Process:
    """A process that tells its news as lines of JSON."""

    process: trio.Process
    _came: bytearray = field(factory=bytearray)

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    async def news(self) -> dict[str, Any]:
        """The next line."""
        while b"\n" not in self._came:
            assert self.process.stdout is not None
            octets = await self.process.stdout.receive_some()
            if not octets:
                raise SpoiltError(f"{self.process.args!r} has ended")
            self._came += octets
        line, _, rest = bytes(self._came).partition(b"\n")
        self._came[:] = rest
        told: dict[str, Any] = json.loads(line)
        return told


@asynccontextmanager
async def _running(module: str, *arguments: object) -> AsyncIterator[_Process]:
    command = [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        yield _Process(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@frozen(kw_only=True)
class Result:
    """Of one run.

    Attributes:
        cpu_ms: for a second of a call, in each window.
        up, down: ages of sound in ms by percentile, from the caller to the agent and the other way.
    """

    cpu_ms: Sequence[float]
    up: dict[str, float]
    down: dict[str, float]


async def measured(subject: str, *, calls: int, music: bool = False) -> Result:
    """Let so many calls go through a subject in real time.

    Raises:
        SpoiltError: some of them did not last.
    """
    seconds = WARM_UP_S + WINDOWS * WINDOW_S + 1.0
    async with _running("call_peers", "agent") as agent:
        agent_port = (await agent.news())["port"]
        async with _running(subject, agent_port, *["music"] * music) as program:
            port = (await program.news())["port"]
            async with _running("call_peers", "twilio", port, calls, seconds) as twilio:
                with trio.fail_after(_START_S):
                    await twilio.news()
                await trio.sleep(WARM_UP_S)
                spent_ms = []
                for _ in range(WINDOWS):
                    before_s, began_at = program.cpu_s, trio.current_time()
                    await trio.sleep(WINDOW_S)
                    spent_s = (program.cpu_s - before_s) / (trio.current_time() - began_at)
                    spent_ms.append(1000 * spent_s / calls)
                heard = await twilio.news()
                said = await agent.news()
    if heard["alive"] != calls:
        raise SpoiltError(f"{heard['alive']} of {calls} calls have lasted")
    return Result(cpu_ms=spent_ms, up=said["ages"], down=heard["ages"])


async def live_calls(_: object) -> Sequence[Figure]:
    """The bridge beside a program that does the same I/O one frame at a time and nothing else."""
    found = []
    for calls in (20, 40):
        bridge, floor = await measured(BRIDGE, calls=calls), await measured(FLOOR, calls=calls)
        found += [
            Figure(f"CPU of the bridge a call-second, {calls} calls", "ms", bridge.cpu_ms, aim="≤ 10"),
            Figure(f"CPU of the floor a call-second, {calls} calls", "ms", floor.cpu_ms),
        ]
        for part in ("p50", "p99"):
            aim = "≤ 40" if part == "p99" else ""
            found += [
                Figure(f"caller to agent {part}, {calls} calls", "ms", [bridge.up[part]], aim=aim),
                Figure(f"agent to caller {part}, {calls} calls", "ms", [bridge.down[part]], aim=aim),
                Figure(f"caller to agent {part}, {calls} calls, floor", "ms", [floor.up[part]]),
                Figure(f"agent to caller {part}, {calls} calls, floor", "ms", [floor.down[part]]),
            ]
    music = await measured(BRIDGE, calls=40, music=True)
    found.append(Figure("CPU of the bridge a call-second, 40 calls with music", "ms", music.cpu_ms))
    return found
