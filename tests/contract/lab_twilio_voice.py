"""What the tests of the simulated telephone stand on: once on paper in virtual time, once on sockets."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import trio
from attrs import define, field, frozen
from twilio.rest import Client  # type: ignore[import-untyped]
from typing_extensions import override

from daemon.lab.faults import Fault
from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.deliveries import Answer, Attempt, Delivery
from daemon.lab.twilio.form import Form
from daemon.lab.twilio.rest import Asked, Reply
from daemon.lab.twilio.voice.calls import CallCallback
from daemon.lab.twilio.voice.exchange import Order
from daemon.lab.twilio.voice.ground import VoicePace
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.rest_conferences import ConferenceRoutes
from daemon.lab.twilio.voice.script import Script
from daemon.lab.twilio.webhooks import WebhookEngine
from tests.contract.lab_twilio import ACCOUNT_SID, AUTH_TOKEN, LIMIT_S, SENDER, Received, sdk_client, serve

OURS = "+525500000000"
CALLER = "+5215512345678"
ADVISOR = "+525599999999"
APP = Application(sid="AP" + "a" * 32)
AT_ONCE = VoicePace(calls_per_second=1_000.0, dial_s=0.0, no_answer_extra_s=0.0, amd_s=0.05, recording_s=0.0)
PAPER = "http://paper"

Fields = Mapping[str, str]
Told = str | bytes | int | Callable[[Fields], str]


EVERYTHING = frozenset({"initiated", "ringing", "answered", "completed"})


def order(**options: object) -> Order:
    callback = CallCallback(url=f"{PAPER}/status", events=EVERYTHING)
    defaults = {
        "sender": OURS,
        "recipient": ADVISOR,
        "program": Fetch(url=f"{PAPER}/advisor"),
        "callback": callback,
    }
    return Order(**{**defaults, **options})  # type: ignore[arg-type]


def answer_of(told: Told, form: Fields) -> tuple[int, str, bytes]:
    """A document in a test is TwiML without its `<Response>`, a WAV file, a status, or a function of the form."""
    if callable(told):
        told = told(form)
    if isinstance(told, int):
        return told, "text/plain", b""
    if isinstance(told, bytes):
        return 200, "audio/wav", told
    return 200, "text/xml", f"<Response>{told}</Response>".encode()


@define(eq=False, kw_only=True)
class PaperEngine(WebhookEngine):
    """Answers webhooks from a dictionary, by path, without a network: for virtual time.

    Attributes:
        asked: the forms that came, by path.
    """

    documents: dict[str, Told]
    asked: dict[str, list[dict[str, str]]] = field(factory=dict)

    @override
    def submit(self, delivery: Delivery) -> None:
        path = urlsplit(delivery.url).path
        form = dict(delivery.params)
        self.books.webhooks.append(delivery)
        self.asked.setdefault(path, []).append(form)
        status, content_type, body = answer_of(self.documents.get(path, ""), form)
        failed = "4xx" if status >= 400 else None
        attempt = Attempt(at=self.clock.now(), url=delivery.url, took_s=0.0, status=status, failure=failed)
        delivery.attempts.append(attempt)
        if failed is None and delivery.on_answer is not None:
            delivery.on_answer(Answer(status=status, content_type=content_type, body=body))
        delivery.done.set()
        self.books.changed()

    def events(self, path: str, name: str = "StatusCallbackEvent") -> list[str]:
        return [form[name] for form in self.asked.get(path, [])]


@frozen(kw_only=True)
class Paper:
    """A lab in virtual time: `documents` answers its webhooks."""

    lab: TwilioLab
    engine: PaperEngine

    @property
    def now_s(self) -> float:
        return self.lab.clock.elapsed_s()

    def call_in(self, *, steps: Sequence[Any] = (), **script: Any) -> Leg:
        return self.lab.voice.call_in(CALLER, Script(steps=steps, **script))

    def leg_of(self, number: str) -> Leg:
        """The newest leg whose other end that is."""
        return next(leg for leg in reversed(self.lab.voice.exchange.legs.values()) if leg.number == number)

    async def until(self, name: str, leg: Leg | None = None, *, count: int = 1) -> None:
        """Wait until something has happened so often."""

        def happened() -> bool:
            events = [e for e in self.lab.books.voice if e.name == name]
            return sum(1 for e in events if leg is None or e.call_sid == leg.sid) >= count

        await self.lab.books.wait_until(happened)

    def names(self, leg: Leg) -> list[str]:
        return [event.name for event in self.lab.books.voice if event.call_sid == leg.sid]

    def details(self, leg: Leg, name: str) -> list[str]:
        return [e.detail for e in self.lab.books.voice if e.call_sid == leg.sid and e.name == name]

    def post(self, route: Callable[..., Reply], *keys: str, **form: str) -> Any:
        """Do what a route of the conferences does; gives what it answers."""
        asked = Asked(path="/", form=Form(list(form.items())), query=Form([]))
        return route(asked, *keys).body

    def add(self, recipient: str, room: str = "sala", **form: str) -> Leg:
        """Call somebody into a room over REST."""
        answer = self.post(self.conferences.add, room, From=OURS, To=recipient, **form)
        return self.lab.voice.leg(answer["call_sid"])

    def change(self, label: str, room: str = "sala", **form: str) -> None:
        self.post(self.conferences.change, room, label, **form)

    @property
    def conferences(self) -> ConferenceRoutes:
        voice = self.lab.voice
        return ConferenceRoutes(voice.ground, voice.exchange, voice.rooms)

    def fault(self, name: str, *, times: int | None = 1, **details: float | str) -> None:
        self.lab.faults.switch_on(Fault(name=name, times=times, details=details))

    def heard(self, leg: Leg) -> list[str]:
        """What a leg heard, as `kind label`, in order."""
        found = self.lab.voice.audible.heard(leg.sid, 0.0, self.now_s)
        return [f"{entry.kind.value} {entry.label}" for entry in found]


def a_lab(url: str, **options: Any) -> TwilioLab:
    number = IncomingNumber(
        phone_number=OURS, voice_url=f"{url}/incoming", status_callback=f"{url}/number-status"
    )
    app = Application(sid=APP.sid, voice_url=f"{url}/agent")
    return TwilioLab(
        account_sid=ACCOUNT_SID,
        auth_token=AUTH_TOKEN,
        senders=[SENDER],
        **{"numbers": [number], "applications": [app], "voice_pace": AT_ONCE, **options},
    )


@asynccontextmanager
async def on_paper(documents: dict[str, Told], **options: Any) -> AsyncIterator[Paper]:
    """A lab without sockets, for tests with `autojump_clock`."""
    lab = a_lab(PAPER, **options)
    engine = PaperEngine(account=lab.account, books=lab.books, clock=lab.clock, documents=documents)
    lab.voice.ground.engine = lab.courier.engine = engine
    with trio.fail_after(24 * 3600):
        async with trio.open_nursery() as nursery:
            await nursery.start(lab.schedule.run)
            await nursery.start(lab.voice.run)
            yield Paper(lab=lab, engine=engine)
            nursery.cancel_scope.cancel(reason="the test is over")


@define(eq=False)
class Talk:
    """One media stream, seen from the business.

    Attributes:
        frames: what came, in order.
        headers: of the handshake.
        over: set when the connection is over. The server does not tell a polite end from a broken one.
    """

    headers: dict[str, str]
    _send: Callable[[dict[str, Any]], Any]
    frames: list[dict[str, Any]] = field(factory=list)
    over: trio.Event = field(factory=trio.Event)
    news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    @property
    def start(self) -> dict[str, Any]:
        started: dict[str, Any] = self.all("start")[0]["start"]
        return started

    def all(self, event: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["event"] == event]

    async def until(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        while len(self.all(event)) < count:
            await self.news.park()
        return self.all(event)

    async def ended(self) -> None:
        await self.over.wait()

    async def say(self, audio: bytes) -> None:
        await self.send("media", {"payload": b64encode(audio).decode()})

    async def send(self, event: str, body: Any = None) -> None:
        frame = {"event": event, "streamSid": self.start["streamSid"]}
        await self.send_text(json.dumps(frame if body is None else {**frame, event: body}))

    async def send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def close(self, code: int = 1000) -> None:
        await self._send({"type": "websocket.close", "code": code})

    def audio(self) -> bytes:
        """What was heard over it."""
        return b"".join(b64decode(frame["media"]["payload"]) for frame in self.all("media"))


@define(eq=False)
class Office:
    """A business on a real port: it answers webhooks by path, and takes media streams."""

    documents: dict[str, Told]
    url: str = ""
    refuses_streams: bool = False
    received: list[Received] = field(factory=list)
    talks: list[Talk] = field(factory=list)
    news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    @property
    def stream_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/stream"

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._stream(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def talk(self, number: int = 1) -> Talk:
        """The n-th stream, once it has started."""
        while len(self.talks) < number:
            await self.news.park()
        talk = self.talks[number - 1]
        await talk.until("start")
        return talk

    async def wait_for(self, path: str, count: int = 1) -> list[Received]:
        while len(found := [request for request in self.received if request.path == path]) < count:
            await self.news.park()
        return found

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        query = scope["query_string"].decode()
        form = dict(parse_qsl(body.decode() or query, keep_blank_values=True))
        self.received.append(
            Received(
                method=scope["method"],
                url=f"{self.url}{scope['path']}{'?' + query if query else ''}",
                headers={name.decode(): value.decode() for name, value in scope["headers"]},
                params=form,
            )
        )
        self.news.unpark_all()
        status, content_type, content = answer_of(self.documents.get(scope["path"], ""), form)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(content)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _stream(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if self.refuses_streams:
            await send({"type": "websocket.close", "code": 1008})
            return
        talk = Talk({name.decode(): value.decode() for name, value in scope["headers"]}, send)
        await send({"type": "websocket.accept"})
        self.talks.append(talk)
        self.news.unpark_all()
        while not talk.over.is_set():
            event = await receive()
            if event["type"] == "websocket.disconnect":
                talk.over.set()
            else:
                talk.frames.append(json.loads(event["text"]))
            talk.news.unpark_all()


@frozen(kw_only=True)
class VoiceBench(Paper):
    """A lab and an office on sockets; `engine` is the real one."""

    office: Office
    http: httpx.AsyncClient
    client: Client

    def path(self, resource: str) -> str:
        return f"/2010-04-01/Accounts/{ACCOUNT_SID}/{resource}"

    async def sdk(self, call: Callable[[Client], Any]) -> Any:
        """Call Twilio's SDK, which blocks, in a thread."""
        return await trio.to_thread.run_sync(call, self.client)


@asynccontextmanager
async def on_sockets(documents: dict[str, Told] | None = None, **options: Any) -> AsyncIterator[VoiceBench]:
    """A lab and an office, each on a port of its own; nothing may last `LIMIT_S`."""
    office = Office(documents if documents is not None else {})
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            office.url = await serve(nursery, office.app)
            lab = a_lab(office.url, **options)
            await nursery.start(lab.run)
            url = await serve(nursery, lab.app, lab)
            client = sdk_client(url)
            auth = (ACCOUNT_SID, AUTH_TOKEN)
            async with httpx.AsyncClient(base_url=url, auth=auth, timeout=LIMIT_S, trust_env=False) as http:
                yield VoiceBench(
                    lab=lab,
                    engine=lab.engine,  # type: ignore[arg-type]
                    office=office,
                    http=http,
                    client=client,
                )
            client.http_client.session.close()
            await _quiet(lab)
            nursery.cancel_scope.cancel(reason="the test is over")


async def _quiet(lab: TwilioLab) -> None:
    """Let calls end and webhooks arrive, so that no request is broken off in the middle."""
    for leg in list(lab.voice.exchange.legs.values()):
        lab.voice.hang_up(leg.sid)
    with trio.move_on_after(2):
        await lab.books.wait_until(lambda: all(delivery.done.is_set() for delivery in lab.books.webhooks))
