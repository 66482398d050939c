"""What the tests of the simulated Twilio stand on: the simulator behind a real port, and a business that it calls."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import httpx
import trio
from attrs import define, field, frozen
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from daemon.httpserver import HttpServer, ServerLimits
from daemon.lab.faults import Fault
from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.whatsapp.carrier import Pace

ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
AUTH_TOKEN = "un-token-secreto"
SENDER = "whatsapp:+14155238886"
PERSON = "+5215512345678"
AT_ONCE = Pace(sent_s=0.0, delivered_s=0.0, read_s=0.0)
LIMIT_S = 20

Result = TypeVar("Result")


@frozen(kw_only=True)
class Received:
    """A request that the business got."""

    method: str
    url: str
    headers: dict[str, str]
    params: dict[str, str]

    @property
    def path(self) -> str:
        return httpx.URL(self.url).path

    def is_signed(self) -> bool:
        """What Twilio's own validator says."""
        params = {} if self.method == "GET" else self.params
        signature = self.headers["x-twilio-signature"]
        return bool(RequestValidator(AUTH_TOKEN).validate(self.url, params, signature))


@frozen(kw_only=True)
class Told:
    """An answer of the business; it is given after `when`, or never when that is never set."""

    status: int = 200
    body: bytes = b"<Response/>"
    content_type: str = "text/xml"
    headers: Sequence[tuple[bytes, bytes]] = ()
    when: trio.Event | None = None


@define(eq=False)
class Business:
    """The customer's server: it remembers what it was asked, and answers as it was told or `<Response/>`."""

    url: str = ""
    received: list[Received] = field(factory=list)
    answers: deque[Told] = field(factory=deque)
    _news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        query = scope["query_string"].decode()
        self.received.append(
            Received(
                method=scope["method"],
                url=f"{self.url}{scope['path']}{'?' + query if query else ''}",
                headers={name.decode(): value.decode() for name, value in scope["headers"]},
                params=dict(parse_qsl(body.decode(), keep_blank_values=True)),
            )
        )
        self._news.unpark_all()
        told = self.answers.popleft() if self.answers else Told()
        if told.when is not None:
            await told.when.wait()
        headers = [
            (b"content-type", told.content_type.encode()),
            (b"content-length", b"%d" % len(told.body)),
            *told.headers,
        ]
        await send({"type": "http.response.start", "status": told.status, "headers": headers})
        await send({"type": "http.response.body", "body": told.body})

    async def wait_for(self, count: int, path: str = "/incoming") -> list[Received]:
        """The requests to a path, when there are that many."""
        while len(found := [request for request in self.received if request.path == path]) < count:
            await self._news.park()
        return found


@frozen(kw_only=True)
class Bench:
    lab: TwilioLab
    url: str
    business: Business
    http: httpx.AsyncClient
    sdk_client: Client

    @property
    def status_url(self) -> str:
        return f"{self.business.url}/status"

    async def sdk(self, call: Callable[[Client], Result]) -> Result:
        """Call Twilio's SDK, which blocks, in a thread."""
        return await trio.to_thread.run_sync(call, self.sdk_client)

    async def create(self, body: str = "Hola", **form: str) -> httpx.Response:
        """POST a message to `PERSON` by bare HTTP."""
        defaults = {"To": f"whatsapp:{PERSON}", "From": SENDER, "Body": body}
        return await self.http.post(self.path("Messages.json"), data={**defaults, **form})

    def path(self, resource: str) -> str:
        return f"/2010-04-01/Accounts/{ACCOUNT_SID}/{resource}"

    def fault(self, name: str, *, times: int | None = 1, **details: float | str) -> None:
        self.lab.faults.switch_on(Fault(name=name, times=times, details=details))

    async def until(self, predicate: Callable[[], bool]) -> None:
        await self.lab.books.wait_until(predicate)


@asynccontextmanager
async def served(*, incoming: str | None = "/incoming", **options: Any) -> AsyncIterator[Bench]:
    """A lab and a business, each on a port of its own; `options` go to the lab, and nothing may last `LIMIT_S`."""
    business = Business()
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            business.url = await serve(nursery, business.app)
            lab = TwilioLab(
                account_sid=ACCOUNT_SID,
                auth_token=AUTH_TOKEN,
                senders=[SENDER],
                incoming_url=None if incoming is None else f"{business.url}{incoming}",
                **{"pace": AT_ONCE, **options},
            )
            await nursery.start(lab.run)
            url = await serve(nursery, lab.app, lab)
            http = httpx.AsyncClient(
                base_url=url, auth=(ACCOUNT_SID, AUTH_TOKEN), timeout=LIMIT_S, trust_env=False, verify=False
            )
            client = sdk_client(url)
            async with http:
                yield Bench(lab=lab, url=url, business=business, http=http, sdk_client=client)
            # The SDK never closes its session.
            client.http_client.session.close()
            nursery.cancel_scope.cancel(reason="the test is over")


async def serve(
    nursery: trio.Nursery, app: Callable[..., Awaitable[None]], lab: TwilioLab | None = None
) -> str:
    server = HttpServer(app, name="test", host="127.0.0.1", port=0, limits=ServerLimits())
    host, port = await nursery.start(server.run)
    if lab is not None:
        lab.public_url = f"http://{host}:{port}"
        lab.abort_connection = server.abort
    return f"http://{host}:{port}"


def sdk_client(url: str, auth_token: str = AUTH_TOKEN) -> Client:
    # A non-empty environment: an empty one lets TWILIO_REGION of the machine rewrite the host.
    client = Client(
        ACCOUNT_SID, auth_token, environment={"x": ""}, http_client=TwilioHttpClient(timeout=LIMIT_S)
    )
    client.api.base_url = url
    client.messaging.base_url = url
    return client


async def nobody_listens() -> str:
    """An origin at which a connection is refused."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    return f"http://127.0.0.1:{port}"
