"""The agent calls a tool of the client's: the call, the wait for its result, and the word that it is over."""

from collections.abc import Mapping
from typing import Any, Final

import trio
from attrs import define

from daemon.lab.elevenlabs import wire
from daemon.lab.elevenlabs.brain import CallTool, ToolResult
from daemon.lab.elevenlabs.conversations import tool_entry_parts, tool_result_parts, transcript_entry
from daemon.lab.elevenlabs.session import Session, Turn

_TIMEOUT_S: Final = 20
# Values of a tool's `interruption_mode` under which the caller cannot interrupt while it is under way.
_SHIELDED: Final = frozenset({"disable_during_tool", "disable_during_tool_and_turn"})


@define(eq=False)
class _Asked:
    """One call that was sent, with its entry in the transcript."""

    id: str
    event_id: int
    started_at: float
    entry: dict[str, Any]


@define(eq=False)
class ClientTools:
    """Calls the tools of one session's client, as the agent's tool settings will have it."""

    session: Session

    async def call(self, turn: Turn, call: CallTool) -> None:
        """Call a tool; its result is then the last in the context's `tool_results`.

        Raises:
            TurnCutError: the caller interrupted, which most tools' settings allow.
        """
        session = self.session
        config = session.world.tool_configs(session.agent).get(call.name, {})
        if config.get("execution_mode") == "post_tool_speech":
            await turn.pause(session.playback.until_s - trio.current_time())
        mode = str(config.get("interruption_mode", "allow"))
        if mode in _SHIELDED:
            turn.shield()
        try:
            await self._call(turn, call, config)
        finally:
            if mode == "disable_during_tool":
                turn.unshield()
        turn.check()

    async def _call(self, turn: Turn, call: CallTool, config: Mapping[str, Any]) -> None:
        expects = call.expects_response
        if expects is None:
            expects = bool(config.get("expects_response", True))
        times = 2 if self.session.world.faults.strikes("tool_called_twice") else 1
        asked = [await self._send(call, expects=expects) for _ in range(times)]
        for one in asked:
            await self._finish(turn, call, one, config, expects=expects)

    async def _send(self, call: CallTool, *, expects: bool) -> _Asked:
        session = self.session
        asked = _Asked(session.world.ids.new("toolu_01"), session.next_event_id(), trio.current_time(), {})
        parts = tool_entry_parts(call.name, asked.id, call.parameters, tool_type="client")
        asked.entry = transcript_entry("agent", None, session.second, tool_calls=[parts])
        session.conversation.transcript.append(asked.entry)
        if expects:
            session.tool_results[asked.id] = None
        frame = wire.tool_call(call.name, asked.id, call.parameters, asked.event_id, expects_response=expects)
        await session.emit_if_wanted(frame)
        return asked

    async def _finish(
        self, turn: Turn, call: CallTool, asked: _Asked, config: Mapping[str, Any], *, expects: bool
    ) -> None:
        session = self.session
        if expects:
            result = await self._await_result(turn, call.name, asked.id, config)
        else:
            result = ToolResult(name=call.name, result="", is_error=False)
        asked.entry["tool_results"].append(
            tool_result_parts(
                result.name,
                asked.id,
                result.result,
                tool_type="client",
                is_error=result.is_error,
                latency_s=trio.current_time() - asked.started_at,
            )
        )
        session.context.tool_results.append(result)
        await turn.pause(session.timing.tool_latency_s)
        done = wire.tool_response(
            call.name, asked.id, asked.event_id, tool_type="client", is_error=result.is_error
        )
        await session.emit_if_wanted(done)
        await turn.pause(session.timing.tool_latency_s)

    async def _await_result(
        self, turn: Turn, name: str, call_id: str, config: Mapping[str, Any]
    ) -> ToolResult:
        results = self.session.tool_results
        limit_s = float(config.get("response_timeout_secs", _TIMEOUT_S))
        try:
            await turn.until(lambda: results[call_id] is not None, limit_s)
            frame = results[call_id]
        finally:
            del results[call_id]
        if frame is None:
            return ToolResult(name=name, result="Tool call timed out", is_error=True)
        return ToolResult(name=name, result=frame["result"], is_error=frame["is_error"])
