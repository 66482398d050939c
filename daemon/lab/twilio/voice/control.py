"""`/lab/calls`, `/lab/lines`, `/lab/numbers`, …: the control routes of the telephone."""

from collections.abc import Sequence
from math import inf

from attrs import Attribute, asdict, define, field, frozen
from quart import Blueprint, Response, jsonify, request

from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.json_body import read_body
from daemon.lab.twilio.voice.audible import Span
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.mulaw import wav
from daemon.lab.twilio.voice.script import Script
from daemon.lab.twilio.voice.side import NoSuchCallError, VoiceSide
from daemon.lab.twilio.whatsapp.people import NUMBER


def _need_telephone(address: str) -> None:
    """
    Raises:
        ValueError: nobody can have that as an address.
    """
    if not (NUMBER.fullmatch(address) or address.startswith(("sip:", "client:"))):
        raise ValueError(f"{address!r} is no telephone: give a number like +525512345678, sip:… or client:…")


def _is_telephone(_: object, __: "Attribute[str]", address: str) -> None:
    _need_telephone(address)


@frozen(kw_only=True)
class CallInBody:
    """An inbound call: from whom, to which of our numbers (the first), and what the caller does."""

    sender: str = field(validator=_is_telephone)
    to: str | None = None
    script: Script | None = None


@frozen(kw_only=True)
class LineBody:
    """Who answers at a number, call by call; the last script counts for all further calls."""

    calls: Sequence[Script]


@frozen(kw_only=True)
class SayBody:
    words: str
    seconds: float | None = None


@frozen(kw_only=True)
class PressBody:
    keys: str


@define(eq=False)
class _Heard:
    """A span of what a leg heard, as the query asks: `from_s` and `to_s`, by default all of it."""

    voice: VoiceSide
    leg: Leg

    def span(self) -> Span:
        first, last = self.voice.listening(self.leg.sid)
        return float(request.args.get("from_s", first)), float(request.args.get("to_s", last))


def voice_blueprint(voice: VoiceSide) -> Blueprint:
    blueprint = Blueprint("lab voice", __name__, url_prefix="/lab")
    blueprint.register_error_handler(ValueError, _bad_request)
    blueprint.register_error_handler(NoSuchCallError, _not_found)
    _add_account_routes(blueprint, voice)
    _add_person_routes(blueprint, voice)
    _add_hearing_routes(blueprint, voice)
    _add_room_routes(blueprint, voice)
    return blueprint


@frozen(kw_only=True)
class VoiceUrlBody:
    """Where calls to a number or an application go."""

    voice_url: str
    voice_method: str = "POST"
    voice_fallback_url: str | None = None
    status_callback: str | None = None


def _add_account_routes(blueprint: Blueprint, voice: VoiceSide) -> None:
    account = voice.ground.account

    @blueprint.put("/numbers/<phone_number>")
    async def number(phone_number: str) -> Response:
        """Have a telephone number. Body: `{"voice_url": …, "status_callback": …}`; answers with its SID."""
        asked = await read_body(VoiceUrlBody)
        _need_telephone(phone_number)
        others = [one for one in account.numbers if one.phone_number != phone_number]
        bought = IncomingNumber(phone_number=phone_number, **asdict(asked))
        account.numbers = [*others, bought]
        return jsonify(sid=bought.sid)

    @blueprint.put("/applications/<sid>")
    async def application(sid: str) -> Response:
        """Have a TwiML App under an `AP…` SID. Body: `{"voice_url": …}`."""
        asked = await read_body(VoiceUrlBody)
        app = Application(
            sid=sid,
            voice_url=asked.voice_url,
            voice_method=asked.voice_method,
            voice_fallback_url=asked.voice_fallback_url,
        )
        account.applications = [*(one for one in account.applications if one.sid != sid), app]
        return jsonify(sid=sid)


def _add_person_routes(blueprint: Blueprint, voice: VoiceSide) -> None:
    @blueprint.put("/lines/<number>")
    async def line(number: str) -> Response:
        """Say who answers at a number. Body: `{"calls": [{"answers": "busy"}, {"answer_after_s": 2}]}`."""
        asked = await read_body(LineBody)
        _need_telephone(number)
        voice.script(number, *asked.calls)
        return jsonify(number=number, calls=len(asked.calls))

    @blueprint.post("/calls")
    async def call_in() -> tuple[Response, int]:
        """Somebody calls us. Body: `{"sender": "+52…", "script": {"steps": […]}}`; answers 201 with the leg's SID."""
        asked = await read_body(CallInBody)
        leg = voice.call_in(asked.sender, asked.script, to=asked.to)
        return jsonify(sid=leg.sid), 201

    @blueprint.post("/calls/<sid>/hangup")
    async def hang_up(sid: str) -> tuple[str, int]:
        """The person on that leg hangs up now."""
        voice.hang_up(sid)
        return "", 204

    @blueprint.post("/calls/<sid>/digits")
    async def press(sid: str) -> tuple[str, int]:
        """The person presses keys. Body: `{"keys": "1"}`."""
        voice.press(sid, (await read_body(PressBody)).keys)
        return "", 204

    @blueprint.post("/calls/<sid>/speech")
    async def say(sid: str) -> tuple[str, int]:
        """The person speaks. Body: `{"words": "Quiero hablar con alguien", "seconds": 2}`."""
        asked = await read_body(SayBody)
        voice.say(sid, asked.words, asked.seconds)
        return "", 204


def _add_hearing_routes(blueprint: Blueprint, voice: VoiceSide) -> None:
    @blueprint.get("/calls")
    async def calls() -> Response:
        """Every leg, oldest first."""
        return jsonify(calls=[leg.call.as_json() for leg in voice.exchange.legs.values()])

    @blueprint.get("/calls/<sid>")
    async def call(sid: str) -> Response:
        """One leg with its events."""
        leg = voice.leg(sid)
        events = [event.as_json() for event in voice.ground.books.voice if event.call_sid == sid]
        return jsonify(**leg.call.as_json(), events=events)

    @blueprint.get("/calls/<sid>/heard")
    async def heard(sid: str) -> Response:
        """What a leg heard, its silences, and when it was alone. Query: `from_s`, `to_s`, by `at_s` of the events."""
        leg = voice.leg(sid)
        first, last = _Heard(voice, leg).span()
        audible = voice.audible
        return jsonify(
            from_s=first,
            to_s=last,
            heard=[entry.as_json() for entry in audible.heard(sid, first, last)],
            silences=audible.silences(sid, first, last),
            longest_silence_s=audible.longest_silence_s(sid, first, last),
            alone=audible.alone(sid, first, last),
        )

    @blueprint.get("/calls/<sid>/heard.wav")
    async def heard_sound(sid: str) -> Response:
        """What a leg heard, to listen to. Query as for `heard`."""
        first, last = _Heard(voice, voice.leg(sid)).span()
        if not 0 <= last - first < inf:
            raise ValueError("to_s must not be before from_s")
        return Response(wav(voice.audible.audio(sid, first, last)), content_type="audio/x-wav")


def _add_room_routes(blueprint: Blueprint, voice: VoiceSide) -> None:
    @blueprint.get("/conferences")
    async def conferences() -> Response:
        """Every conference, oldest first, with who is in it."""
        rooms = [
            {
                "sid": room.sid,
                "name": room.friendly_name,
                "status": room.status.value,
                "ended": room.ended.value if room.ended is not None else None,
                "members": [
                    {"call_sid": m.call_sid, "label": m.label, "status": m.status.value, "hold": m.hold}
                    for m in room.members.values()
                ],
            }
            for room in voice.rooms.rooms.values()
        ]
        return jsonify(conferences=rooms)


async def _bad_request(error: Exception) -> tuple[Response, int]:
    return jsonify(error=str(error)), 400


async def _not_found(error: Exception) -> tuple[Response, int]:
    return jsonify(error=f"there is no call {error}"), 404
