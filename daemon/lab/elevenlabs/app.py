"""The ElevenLabs simulator: an ASGI app that looks like `api.elevenlabs.io`, and the tasks behind it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import trio
from attrs import Factory, define, field
from quart_trio import QuartTrio

from daemon.lab.elevenlabs.agent_socket import AgentSocket, no_abort
from daemon.lab.elevenlabs.batches import Batches
from daemon.lab.elevenlabs.books import Books
from daemon.lab.elevenlabs.brain import Brain, SalesBrain
from daemon.lab.elevenlabs.calls import Calls
from daemon.lab.elevenlabs.control import ControlRoutes
from daemon.lab.elevenlabs.ids import Ids
from daemon.lab.elevenlabs.known_faults import KNOWN_FAULTS
from daemon.lab.elevenlabs.rest import Gate
from daemon.lab.elevenlabs.rest_agents import AgentRoutes, ToolRoutes
from daemon.lab.elevenlabs.rest_batches import BatchRoutes
from daemon.lab.elevenlabs.rest_conversations import ConversationRoutes
from daemon.lab.elevenlabs.rest_workspace import WorkspaceRoutes
from daemon.lab.elevenlabs.script import CallScript
from daemon.lab.elevenlabs.session import SocketTiming
from daemon.lab.elevenlabs.webhooks import WebhookTarget
from daemon.lab.elevenlabs.world import World
from daemon.lab.faults import Faults
from daemon.lab.spoken import Spoken

_BODY_MAX_BYTES = 16 * 1024 * 1024
_BODY_TIMEOUT_S = 30
_RESPONSE_TIMEOUT_S = 60


def _default_script(_: Mapping[str, Any]) -> CallScript:
    return CallScript(ring_s=0.1, talk_s=0.2, analysis_delay_s=0.2)


@define(eq=False, kw_only=True)
class ElevenLabsLab:
    """One simulated ElevenLabs workspace. Serve `app`, and keep `run` going.

    Attributes:
        webhook_url, webhook_secret: where webhooks go, whatever the workspace's settings say; both or none.
        brain: answers in sessions that start from now on.
        voice_brain: answers in those that speak; None: `brain` does too.
        spoken: what is said on the telephone; shared with a simulated Twilio whose callers are to be understood.
        timing: the clocks of the agent socket at the start; later, `socket.timing` can be replaced.
        frames_kept: frames that the books remember of one conversation; a load test wants few.
        write_script: writes the script of a call that was ordered without one, from its dynamic variables.
        now: Unix time in seconds.
        abort_connection: breaks the connection of a peer, given as (host, port); the server's. The faults
            named `drop_…` and `rest_answer_lost` need it. May be set once the server exists.
        calls, batches, world: to place and finish calls without HTTP.
    """

    api_key: str
    seed: int = 0
    webhook_url: str | None = None
    webhook_secret: str | None = None
    brain: Brain = Factory(SalesBrain)
    voice_brain: Brain | None = None
    spoken: Spoken = Factory(Spoken)
    timing: SocketTiming = Factory(SocketTiming)
    frames_kept: int = 5_000
    write_script: Callable[[Mapping[str, Any]], CallScript] = _default_script
    now: Callable[[], float] = time.time
    abort_connection: Callable[[tuple[str, int]], None] = no_abort
    faults: Faults = field(init=False)
    world: World = field(init=False)
    calls: Calls = field(init=False)
    batches: Batches = field(init=False)
    socket: AgentSocket = field(init=False)
    app: QuartTrio = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.faults = Faults(KNOWN_FAULTS, self.seed)
        self.world = World(
            ids=Ids(self.seed),
            faults=self.faults,
            now=self.now,
            frames_kept=self.frames_kept,
            spoken=self.spoken,
        )
        if self.webhook_url is not None and self.webhook_secret is not None:
            self.world.webhook_book.direct = WebhookTarget(url=self.webhook_url, secret=self.webhook_secret)
        self.calls = Calls(self.world)
        self.batches = Batches(world=self.world, calls=self.calls, write_script=self.write_script)
        self.socket = AgentSocket(
            world=self.world,
            api_key=self.api_key,
            choose_brain=self._choose_brain,
            timing=self.timing,
            abort_connection=self._abort,
        )
        self.app = self._make_app()

    @property
    def books(self) -> Books:
        return self.world.books

    def _choose_brain(self, speaks: bool) -> Brain:  # noqa: FBT001 - one question, one answer
        return self.voice_brain if speaks and self.voice_brain is not None else self.brain

    def _abort(self, peer: tuple[str, int]) -> None:
        self.abort_connection(peer)

    def _make_app(self) -> QuartTrio:
        app = QuartTrio("relevo-lab-elevenlabs", static_folder=None)
        app.config["MAX_CONTENT_LENGTH"] = _BODY_MAX_BYTES
        app.config["BODY_TIMEOUT"] = _BODY_TIMEOUT_S
        app.config["RESPONSE_TIMEOUT"] = _RESPONSE_TIMEOUT_S
        Gate(self.world, self.api_key, self._abort).add_to(app)
        AgentRoutes(self.world).add_to(app)
        ToolRoutes(self.world).add_to(app)
        BatchRoutes(self.batches).add_to(app)
        ConversationRoutes(self.world).add_to(app)
        WorkspaceRoutes(self.world).add_to(app)
        ControlRoutes(world=self.world, batches=self.batches, socket=self.socket, reset=self.reset).add_to(
            app
        )
        app.add_websocket("/v1/convai/conversation", view_func=self.socket.serve)
        return app

    def reset(self) -> None:
        """Forget conversations, batches, books and faults. Agents, tools, webhook settings and open sockets
        stay.
        """
        self.faults.clear()
        self.calls.clear()
        self.batches.all.clear()
        self.world.clear_traffic()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make calls go on, analyses finish and webhooks go out. Runs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.world.agenda.run, name="lab agenda")
            nursery.start_soon(self.world.webhooks.run, name="lab webhooks")
            task_status.started()
