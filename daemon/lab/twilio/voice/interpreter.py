"""What a leg does: its documents, verb by verb (Twilio docs: voice/twiml)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from attrs import define, field

from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.dialing import Dialing
from daemon.lab.twilio.voice.documents import Document, Documents
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.keys import Input, listening
from daemon.lab.twilio.voice.legs import Bridge, Fetch, Inline, Leg, Program, TakeSeat
from daemon.lab.twilio.voice.player import MediaPlayer
from daemon.lab.twilio.voice.recorder import Recorder
from daemon.lab.twilio.voice.room import LabelTakenError
from daemon.lab.twilio.voice.rooms import Rooms
from daemon.lab.twilio.voice.streams import MediaStream, StreamOrder, start_stream
from daemon.lab.twilio.voice.twiml import BEFORE_ANSWER, BadDocumentError, Verb, parse

# A call that goes from document to document without end is ended.
DOCUMENTS_MAX: Final = 1_000
REJECTED: Final[Mapping[str, CallStatus]] = {"busy": CallStatus.BUSY, "rejected": CallStatus.NO_ANSWER}

Running = Callable[[Leg, Document, Verb], Awaitable[Program | None]]


@define(eq=False)
class Interpreter:
    """Runs legs. A leg's task ends with its call, whoever ends it."""

    ground: Ground
    exchange: Exchange
    documents: Documents
    player: MediaPlayer
    rooms: Rooms
    recorder: Recorder
    dialing: Dialing = field(init=False)
    _verbs: Mapping[str, Running] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dialing = Dialing(self.ground, self.exchange, self.rooms, self.player)
        self._verbs = {
            "Say": self._simple,
            "Play": self._simple,
            "Pause": self._simple,
            "Gather": self._gather,
            "Record": self._record,
            "Redirect": self._redirect,
            "Hangup": self._hang_up,
            "Reject": self._reject,
            "Dial": self.dialing.dial,
            "Connect": self._connect,
            "Start": self._start,
            "Stop": self._stop,
        }

    async def perform(self, leg: Leg) -> None:
        """A leg from its first document to its end."""
        with leg.life():
            await self.exchange.detector.result(leg)
            program = leg.program
            for _ in range(DOCUMENTS_MAX):
                leg.step = trio.CancelScope()
                if leg.orders is None:
                    with leg.step:
                        program = await self._do(leg, program)
                if leg.orders is not None:
                    program, leg.orders = leg.orders, None
                if program is None:
                    break
            self.exchange.end(leg, CallStatus.COMPLETED)

    async def _do(self, leg: Leg, program: Program | None) -> Program | None:
        """One step of a leg; gives the next, None when there is nothing more to do."""
        if isinstance(program, TakeSeat):
            await self._take_seat(leg, program)
            return None
        if isinstance(program, Bridge):
            await self._cross(leg, program)
            return None
        document = await self._document(leg, program)
        if document is None:
            self.exchange.answer(leg)
            await self.player.apologize(leg)
            return None
        return await self._run(leg, document)

    async def _document(self, leg: Leg, program: Fetch | Inline | None) -> Document | None:
        if program is None:
            self.ground.complain(11200, "", "no URL is configured", call_sid=leg.sid)
            return None
        if isinstance(program, Fetch):
            return await self.documents.read(leg, program)
        try:
            return Document(verbs=parse(program.twiml), url="")
        except BadDocumentError as error:
            self.ground.complain(error.code, "", str(error), call_sid=leg.sid)
            return None

    async def _run(self, leg: Leg, document: Document) -> Program | None:
        for verb in document.verbs:
            if verb.name not in BEFORE_ANSWER:
                self.exchange.answer(leg)
            following = await self._verbs[verb.name](leg, document, verb)
            if following is not None:
                return following
            if leg.call.over:
                return None
        return None

    async def _take_seat(self, leg: Leg, program: TakeSeat) -> None:
        if not program.room.active:
            return
        try:
            self.rooms.seat(leg, program.room, program.member)
        except LabelTakenError:
            self.ground.complain(16025, "", "the label is in use", call_sid=leg.sid)
            return
        await leg.unseated.wait()

    async def _cross(self, leg: Leg, program: Bridge) -> None:
        """A leg that was dialled: the whisper, then the talk."""
        if program.whisper is not None:
            document = await self.documents.read(leg, program.whisper)
            if document is None:
                return
            # What the whisper leads to by `action` belongs to it.
            following = await self._run(leg, document)
            while following is not None:
                following = await self._do(leg, following)
            if leg.call.over:
                return
        self.exchange.bridge(program.parent, leg)
        await leg.unbridged.wait()

    async def _simple(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        await self.player.simple(leg, document, verb)
        return None

    async def _gather(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        kinds = verb.get("input", "dtmf").split()
        heard = Input(
            finish_on=verb.get("finishOnKey", "#"),
            digits_max=verb.number("numDigits", float("inf")),
            takes_keys="dtmf" in kinds,
            takes_speech="speech" in kinds,
        )
        self.ground.moments.tell("gather", leg.sid, leg.number)
        with listening(leg, heard):
            await self._prompt(leg, document, verb, heard)
            await heard.wait(self.ground, verb.number("timeout", 5))
        extra = {}
        if heard.speech is not None:
            extra = {"SpeechResult": heard.speech, "Confidence": "0.9"}
        elif heard.digits:
            extra = {"Digits": heard.digits, "FinishedOnKey": heard.finish_key or ""}
        if not extra and not verb.flag("actionOnEmptyResult", default=False):
            return None
        return Fetch(
            url=document.link(verb.get("action")),
            method=verb.get("method", "POST"),
            extra=extra or {"Digits": ""},
        )

    async def _prompt(self, leg: Leg, document: Document, verb: Verb, heard: Input) -> None:
        """What stands in a `<Gather>`, until the person does something."""
        async with trio.open_nursery() as nursery:

            async def interrupt() -> None:
                await heard.began.wait()
                nursery.cancel_scope.cancel(reason="barge-in")

            nursery.start_soon(interrupt)
            for child in verb.children:
                await self.player.simple(leg, document, child)
            nursery.cancel_scope.cancel(reason="prompt over")

    async def _record(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        return await self.recorder.record(leg, document, verb)

    async def _redirect(self, _: Leg, document: Document, verb: Verb) -> Program | None:
        return Fetch(url=document.link(verb.text), method=verb.get("method", "POST"))

    async def _hang_up(self, leg: Leg, _: Document, __: Verb) -> Program | None:
        self.exchange.end(leg, CallStatus.COMPLETED)
        return None

    async def _reject(self, leg: Leg, _: Document, verb: Verb) -> Program | None:
        answered = leg.answered.is_set()
        status = REJECTED.get(verb.get("reason", "rejected"), CallStatus.NO_ANSWER)
        self.exchange.end(leg, CallStatus.COMPLETED if answered else status)
        return None

    async def _connect(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        noun = verb.first("Stream")
        if noun is not None:
            order = _stream_order(document, noun, both_ways=True)
            await MediaStream(self.ground, self.exchange, leg, order).run()
        action = verb.get("action")
        if not action:
            return None
        return Fetch(url=document.link(action), method=verb.get("method", "POST"))

    async def _start(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        for noun in verb.children:
            order = _stream_order(document, noun, both_ways=False)
            start_stream(self.ground, MediaStream(self.ground, self.exchange, leg, order))
        return None

    async def _stop(self, leg: Leg, _: Document, verb: Verb) -> Program | None:
        names = {noun.get("name") for noun in verb.children}
        for stream in list(leg.streams):
            if stream.name in names:
                stream.stop()
        return None


def _stream_order(document: Document, noun: Verb, *, both_ways: bool) -> StreamOrder:
    track = noun.get("track", "inbound_track")
    both = track == "both_tracks" and not both_ways
    return StreamOrder(
        url=noun.get("url"),
        name=noun.get("name") or None,
        both_ways=both_ways,
        tracks=("inbound", "outbound") if both else (track.removesuffix("_track"),),
        parameters={child.get("name"): child.get("value") for child in noun.children},
        status_url=document.link(noun.get("statusCallback")) if noun.get("statusCallback") else None,
        status_method=noun.get("statusCallbackMethod", "POST"),
    )
