"""`relevo agent`: the agent itself, in the terminal; its settings are `daemon.cli.agent_apply`'s."""

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
from actors.ports import AgentSession
from daemon.adapters import agent_sessions, open_elevenlabs
from daemon.cli.agent_apply import apply
from daemon.cli.failure import CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.elevenlabs.agent_socket import AgentSessions
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
        end = await Chat(sessions).hold(SessionPlan(agent_id=agent_id, user_id="relevo-agent-chat"))
    if end is not None and end.reason is not SessionEndReason.ENDED_BY_AGENT:
        raise CommandFailedError(f"no session, or it broke: {end.detail}")
    click.echo(f"session ended: {end.detail}" if end is not None else "session closed")


class Chat:
    """One session, spoken to from standard input."""

    def __init__(self, sessions: AgentSessions) -> None:
        self._sessions = sessions
        self._send, self._events = trio.open_memory_channel[AgentEvent | SessionEnd](EVENTS_MAX)
        self._session: AgentSession | None = None
        self._answered = trio.Event()

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
                await self._show(event)
        return None

    async def _live(self, plan: SessionPlan) -> None:
        self._send.send_nowait(await self._sessions.run(plan, self._send.send_nowait))

    async def _show(self, event: AgentEvent) -> None:
        match event:
            case SessionOpened(session=session):
                click.echo(f"session {session.conversation_id}")
            case AgentReplied(text=text):
                click.echo(click.style("agent ", fg="green", bold=True) + text)
                self._answered.set()
            case ToolCalled(name=name, call_id=call_id, expects_response=True) if self._session is not None:
                click.echo(f"agent calls {name}; answered as unknown")
                await self._session.answer_tool(call_id, "unknown tool", is_error=True)
            case _:
                pass

    async def _say_lines(self, session: AgentSession, everything: trio.CancelScope) -> None:
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            if line.strip():
                self._answered = trio.Event()
                await session.say(line.strip())
                if not sys.stdin.isatty():
                    await self._until_answered()
        everything.cancel(reason="end of input")

    async def _until_answered(self) -> None:
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            await self._answered.wait()


def _show_frame(direction: str, frame: str) -> None:
    click.echo(click.style(f"{direction} {frame}", dim=True))
