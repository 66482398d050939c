"""`relevo agent`: the agent itself, in the terminal; its settings are `daemon.cli.agent_apply`'s."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import click
import trio

from actors.agent_events import (
    AgentEvent,
    AgentReplied,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolCalled,
)
from actors.conversation.turn import AnswerCollector
from actors.ports import AgentSession, AgentSessions
from daemon.adapters import agent_sessions, open_elevenlabs
from daemon.cli.agent_apply import apply
from daemon.cli.failure import CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.settings import Settings

NEEDS = ("ELEVENLABS_API_KEY",)
EVENTS_MAX = 1000
ANSWER_TIMEOUT_S = 60.0


@click.group()
def agent() -> None:
    """The ElevenLabs agent."""


agent.add_command(apply)


@agent.command()
@click.option("--agent", "agent_id", help="Agent id; else elevenlabs.text_agent_id.")
@click.option("--wire", is_flag=True, help="Show every frame, both ways.")
@config_option
def chat(config_path: Path | None, agent_id: str | None, *, wire: bool) -> None:
    """Talk to the agent over the real socket; Ctrl-D ends it."""
    settings = settings_for(config_path, require=NEEDS)
    agent_id = agent_id or settings.elevenlabs.text_agent_id
    if not agent_id:
        raise click.UsageError("name an agent with --agent, or set elevenlabs.text_agent_id")
    trio.run(_chat, settings, agent_id, _show_frame if wire else None)


async def _chat(settings: Settings, agent_id: str, on_frame: Callable[[str, str], None] | None) -> None:
    async with open_elevenlabs(settings) as api:
        sessions = agent_sessions(settings, api, on_frame=on_frame)
        talk = Chat(sessions, settle_s=settings.conversation.settle_s)
        end = await talk.hold(SessionPlan(agent_id=agent_id, user_id="relevo-agent-chat"))
    if end is not None and end.reason is not SessionEndReason.ENDED_BY_AGENT:
        raise CommandFailedError(f"no session, or it broke: {end.detail}")
    if talk.unanswered:
        raise CommandFailedError(
            f"the agent left {talk.unanswered} of the lines unanswered for {ANSWER_TIMEOUT_S:.0f} s"
        )
    click.echo(f"session ended: {end.detail}" if end is not None else "session closed")


class Chat:
    """One session, spoken to from standard input.

    Attributes:
        unanswered: how many lines of a file or pipe got no whole answer in time.
    """

    def __init__(self, sessions: AgentSessions, *, settle_s: float) -> None:
        self._sessions = sessions
        self._settle_s = settle_s
        self.unanswered = 0
        self._send, self._events = trio.open_memory_channel[AgentEvent | SessionEnd](EVENTS_MAX)
        self._session: AgentSession | None = None
        self._answer = AnswerCollector(settle_s=settle_s)
        self._newest_event_id = -1
        self._heard = trio.Event()

    async def hold(self, plan: SessionPlan) -> SessionEnd | None:
        """Until the agent ends the session, whose end is returned, or the input ends and is answered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live, plan, name="session")
            async for event in self._events:
                if isinstance(event, SessionEnd):
                    nursery.cancel_scope.cancel(reason="session ended")
                    return event
                if isinstance(event, SessionOpened):
                    self._session = event.session
                    nursery.start_soon(self._say_lines, event.session, nursery.cancel_scope, name="terminal")
                self._take(event)
                await self._show(event)
        return None

    def _take(self, event: AgentEvent) -> None:
        self._newest_event_id = max(self._newest_event_id, getattr(event, "event_id", None) or -1)
        self._answer.feed(event, trio.current_time())
        self._heard.set()

    async def _live(self, plan: SessionPlan) -> None:
        self._send.send_nowait(await self._sessions.run(plan, self._send.send_nowait))

    async def _show(self, event: AgentEvent) -> None:
        match event:
            case SessionOpened(session=session):
                click.echo(f"session {session.conversation_id}")
            case AgentReplied(text=text):
                click.echo(click.style("agent ", fg="green", bold=True) + text)
            case ToolCalled(name=name, call_id=call_id, expects_response=True) if self._session is not None:
                click.echo(f"agent calls {name}; answered as unknown")
                await self._session.answer_tool(call_id, "unknown tool", is_error=True)
                self._answer.tool_answered(call_id)
            case _:
                pass

    async def _say_lines(self, session: AgentSession, everything: trio.CancelScope) -> None:
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            if line.strip():
                self._answer = AnswerCollector(settle_s=self._settle_s, after_event_id=self._newest_event_id)
                await session.say(line.strip())
                if not sys.stdin.isatty():
                    await self._until_answered()
        everything.cancel(reason="end of input")

    async def _until_answered(self) -> None:
        """Until the agent has said all it has to say, which may come in several replies."""
        with trio.move_on_after(ANSWER_TIMEOUT_S) as patience:
            while not self._answer.is_complete(trio.current_time()):
                self._heard = trio.Event()
                settles_at = self._answer.settles_at
                with trio.move_on_at(math.inf if settles_at is None else settles_at):
                    await self._heard.wait()
        self.unanswered += patience.cancelled_caught


def _show_frame(direction: str, frame: str) -> None:
    click.echo(click.style(f"{direction} {frame}", dim=True))
