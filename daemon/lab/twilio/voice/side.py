"""The voice side, put together on the same account, clock, schedule, courier and edge as the WhatsApp side."""

from collections.abc import Mapping
from functools import partial
from typing import Final

import trio
from attrs import define, field
from quart import Blueprint

from daemon.lab.spoken import Spoken
from daemon.lab.twilio.rest import Edge
from daemon.lab.twilio.voice.audible import Audible, Span
from daemon.lab.twilio.voice.documents import Documents
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.interpreter import Interpreter
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.mulaw import wav
from daemon.lab.twilio.voice.people import People
from daemon.lab.twilio.voice.player import MediaPlayer
from daemon.lab.twilio.voice.recorder import Recorder
from daemon.lab.twilio.voice.rest_calls import CallRoutes, call_blueprint
from daemon.lab.twilio.voice.rest_conferences import ConferenceRoutes, conference_blueprint
from daemon.lab.twilio.voice.rest_recordings import RecordingRoutes, recording_blueprint
from daemon.lab.twilio.voice.rooms import Rooms
from daemon.lab.twilio.voice.script import Lines, Script

# Where a moment's number stands, for what an agent says.
AGENT: Final = "agent"


class NoSuchNumberError(ValueError):
    """The account has no such telephone number."""


class NoSuchCallError(LookupError):
    """There is no call of that SID."""


@define(eq=False)
class VoiceSide:
    """Calls, conferences, streams, recordings, and the persons who take part in them.

    What is scripted and asked of it may be done from any task of the simulator's loop while it runs.

    Attributes:
        spoken: what its persons say, for who is to understand them.
    """

    ground: Ground
    spoken: Spoken = field(factory=Spoken)
    lines: Lines = field(factory=Lines, init=False)
    exchange: Exchange = field(init=False)
    rooms: Rooms = field(init=False)
    recorder: Recorder = field(init=False)
    people: People = field(init=False)

    def __attrs_post_init__(self) -> None:
        documents = Documents(self.ground)
        player = MediaPlayer(self.ground, documents)
        self.exchange = Exchange(ground=self.ground, lines=self.lines)
        self.rooms = self.exchange.rooms = Rooms(self.ground, self.exchange, player)
        self.recorder = Recorder(self.ground, self.exchange, documents, player)
        self.people = People(self.ground, self.exchange, self.spoken)
        interpreter = Interpreter(self.ground, self.exchange, documents, player, self.rooms, self.recorder)
        self.exchange.perform = interpreter.perform
        self.exchange.attend = self.people.attend

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.ground.run(task_status=task_status)

    @property
    def audible(self) -> Audible:
        """Who heard what."""
        return self.ground.books.audible

    def script(self, number: str, *scripts: Script) -> None:
        """Say who answers at a number, call by call; the last script counts for all further calls."""
        self.lines.script(number, *scripts)

    def call_in(self, sender: str, script: Script | None = None, *, to: str | None = None) -> Leg:
        """Somebody calls one of the account's numbers, by default the first.

        Raises:
            NoSuchNumberError: the account has none, or not that one.
        """
        numbers = [number for number in self.ground.account.numbers if to in {None, number.phone_number}]
        if not numbers:
            raise NoSuchNumberError(f"the account has no number {to or ''}".strip())
        return self.exchange.ring_in(sender, numbers[0], script or Script())

    def leg(self, call_sid: str) -> Leg:
        """
        Raises:
            NoSuchCallError: there is none of that SID.
        """
        try:
            return self.exchange.legs[call_sid]
        except KeyError:
            raise NoSuchCallError(call_sid) from None

    def hang_up(self, call_sid: str) -> None:
        """The person hangs up, now."""
        self.exchange.hang_up(self.leg(call_sid))

    def say(self, call_sid: str, words: str, seconds: float | None = None) -> None:
        """The person speaks, from now on for so long, else by the letters."""
        self.people.say(self.leg(call_sid), words, seconds)

    def press(self, call_sid: str, keys: str) -> None:
        """The person presses keys, one after the other."""
        leg = self.leg(call_sid)
        self.ground.spawn(partial(self.people.press, leg, keys), name=f"keys {call_sid}")

    def listening(self, call_sid: str) -> Span:
        """From when to when a leg could hear, until now at most; an empty span for one that never could."""
        first, last = self.audible.listening(call_sid) or (0.0, 0.0)
        return first, min(last, self.ground.now_s)

    def heard_wav(self, call_sid: str) -> bytes:
        """All that a leg heard, as a WAV file."""
        return wav(self.audible.audio(call_sid, *self.listening(call_sid)))

    def agent_speaks(self, words: str) -> None:
        """Tell the books that a simulated agent begins to be heard with this. Whose call it is nobody knows."""
        self.ground.moments.tell("agent_speaks", "", AGENT, words)

    def agent_said(self, words: str) -> None:
        """As `agent_speaks`, when it has been heard to the end."""
        self.ground.moments.tell("agent_said", "", AGENT, words)

    def counts(self) -> Mapping[str, int]:
        """How many calls (legs), conferences and recordings there were, and how many of them go on."""
        calls = [leg.call for leg in self.exchange.legs.values()]
        rooms = list(self.rooms.rooms.values())
        return {
            "calls": len(calls),
            "calls_now": sum(not call.over for call in calls),
            "conferences": len(rooms),
            "conferences_now": sum(room.ended is None for room in rooms),
            "recordings": len(self.recorder.recordings),
        }

    def blueprints(self, edge: Edge) -> list[Blueprint]:
        calls = CallRoutes(self.ground, self.exchange)
        conferences = ConferenceRoutes(self.ground, self.exchange, self.rooms)
        recordings = RecordingRoutes(self.ground, self.recorder)
        return [
            call_blueprint(edge, calls),
            conference_blueprint(edge, conferences),
            recording_blueprint(edge, recordings),
        ]

    def clear(self) -> None:
        """Break off every call and forget them, rooms, recordings and scripts."""
        self.rooms.clear()
        self.exchange.clear()
        self.recorder.recordings.clear()
