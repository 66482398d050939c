"""The webhook engine: real, signed HTTP requests to the customer's server, as many at once as Twilio would make."""

import ssl
from collections import deque
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlencode, urljoin

import httpx
import trio
from attrs import define, field

from daemon.lab.twilio.account import Account
from daemon.lab.twilio.books import Books, DebuggerEntry
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.deliveries import Answer, Attempt, Delivery
from daemon.lab.twilio.overrides import ConnectionOverrides, split_overrides
from daemon.lab.twilio.signing import SIGNATURE_HEADER, signature

ANSWER_SHOWN_BYTES: Final = 500
REDIRECTS_MAX: Final = 5
# Shorter than the five seconds after which servers close an idle connection, so that ours is never the one that
# is closed while a request is on its way: Twilio would not redeliver it.
KEEP_ALIVE_S: Final = 2.0

FORGER_TOKEN: Final = "not-the-auth-token"  # noqa: S105 - the forger's, on purpose

RETRY_CLASS: Final = {
    "connect": "ct",
    "tls": "ct",
    "timeout": "rt",
    "broken": "rt",
    "4xx": "4xx",
    "5xx": "5xx",
}
DEBUGGER_CODE: Final = {"connect": 11205, "tls": 11220}


@define(eq=False, kw_only=True)
class WebhookEngine:
    """Requests what is submitted, at most `concurrency` at a time, and enters every attempt in the books.

    At most `waiting_max` deliveries wait or are under way; one more is entered as lost. A customer's server that is
    down or wrong is the normal case here and never an exception.
    """

    account: Account
    books: Books
    clock: LabClock
    concurrency: int = 128
    waiting_max: int = 50_000
    _lanes: dict[str, deque[Delivery]] = field(factory=dict, init=False)
    _waiting: int = field(default=0, init=False)
    _lines: list[httpx.AsyncHTTPTransport] = field(factory=list, init=False)
    _tls: ssl.SSLContext = field(factory=httpx.create_ssl_context, init=False)
    _sender: trio.MemorySendChannel[Delivery] = field(init=False)
    _receiver: trio.MemoryReceiveChannel[Delivery] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[Delivery](self.waiting_max)

    def submit(self, delivery: Delivery) -> None:
        """Owe a webhook. Returns at once."""
        self.books.webhooks.append(delivery)
        if self._waiting >= self.waiting_max:
            self._give_up(delivery, "the simulator's queue is full")
            return
        self._waiting += 1
        if delivery.lane is not None:
            behind = self._lanes.get(delivery.lane)
            if behind is not None:
                behind.append(delivery)
                return
            self._lanes[delivery.lane] = deque()
        self._sender.send_nowait(delivery)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs once, until cancelled; requests under way are then broken off, as by a crash."""
        async with AsyncExitStack() as lines, trio.open_nursery() as nursery:
            for number in range(self.concurrency):
                nursery.start_soon(self._work, lines, name=f"webhook worker {number}")
            task_status.started()

    async def _work(self, lines: AsyncExitStack) -> None:
        async for delivery in self._receiver:
            line = self._lines.pop() if self._lines else await lines.enter_async_context(self._new_line())
            answer = await self._deliver(line, delivery)
            self._lines.append(line)
            self._settle(delivery, answer)
            self._leave_lane(delivery)

    def _new_line(self) -> httpx.AsyncHTTPTransport:
        """A transport for one request at a time.

        One for all would look through all its connections at every request and spend most of a core on it. The
        line that was used last is used first, so that few connections stay open and warm.
        """
        limits = httpx.Limits(max_connections=1, keepalive_expiry=KEEP_ALIVE_S)
        # trust_env: a proxy named in the environment is not on the way between Twilio and the customer.
        return httpx.AsyncHTTPTransport(verify=self._tls, limits=limits, trust_env=False)

    async def _deliver(self, transport: httpx.AsyncHTTPTransport, delivery: Delivery) -> Answer | None:
        url, overrides = split_overrides(delivery.url)
        deadline = trio.current_time() + overrides.total_timeout_s
        for _ in range(1 + overrides.retries):
            answer = await self._attempt(transport, delivery, url, overrides, deadline)
            last = delivery.attempts[-1]
            if last.failure is None:
                return answer
            # An answer that broke off in the middle is never asked for again.
            broke_off = last.status is not None and last.failure in {"timeout", "broken"}
            if broke_off or RETRY_CLASS[last.failure] not in overrides.retry_on:
                return None
            if trio.current_time() >= deadline:
                return None
        return None

    async def _attempt(
        self,
        transport: httpx.AsyncHTTPTransport,
        delivery: Delivery,
        url: str,
        overrides: ConnectionOverrides,
        deadline: float,
    ) -> Answer | None:
        exchange = _Exchange(transport, overrides, self._token(delivery), delivery)
        at, began_s = self.clock.now(), trio.current_time()
        answer, failure, error = None, None, None
        try:
            with trio.fail_at(deadline):
                answer = await exchange.follow(url)
            failure = _refusal(answer.status)
        except (httpx.TimeoutException, trio.TooSlowError) as exc:
            failure, error = ("connect" if isinstance(exc, httpx.ConnectTimeout) else "timeout"), repr(exc)
        except httpx.ConnectError as exc:
            failure, error = ("tls" if _is_tls(exc) else "connect"), repr(exc)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            failure, error = "broken", repr(exc)
        attempt = Attempt(
            at=at,
            url=exchange.url,
            took_s=trio.current_time() - began_s,
            status=exchange.status,
            answer=answer.body[:ANSWER_SHOWN_BYTES].decode("utf-8", "replace") if answer else None,
            failure=failure,
            error=error,
        )
        delivery.attempts.append(attempt)
        return answer

    def _token(self, delivery: Delivery) -> str:
        return FORGER_TOKEN if delivery.forged else self.account.auth_token

    def _settle(self, delivery: Delivery, answer: Answer | None) -> None:
        if answer is not None:
            if delivery.on_answer is not None:
                delivery.on_answer(answer)
        elif not delivery.forged:
            self._report(delivery)
        delivery.done.set()
        self.books.changed()

    def _report(self, delivery: Delivery) -> None:
        """A delivery has failed for good: tell the debugger, then ask the fallback URL."""
        last = delivery.attempts[-1]
        code = DEBUGGER_CODE.get(last.failure or "", 11200)
        sentence = f"{last.failure} {last.status or ''}".strip()
        self.books.debugger.append(
            DebuggerEntry(
                at=self.clock.now(),
                code=code,
                url=last.url,
                sentence=sentence,
                message_sid=delivery.message_sid,
            )
        )
        if delivery.fallback_url is not None:
            self.submit(
                Delivery(
                    kind="fallback",
                    url=delivery.fallback_url,
                    method=delivery.method,
                    params=[*delivery.params, ("ErrorCode", str(code)), ("ErrorUrl", last.url)],
                    message_sid=delivery.message_sid,
                    on_answer=delivery.on_answer,
                )
            )

    def _leave_lane(self, delivery: Delivery) -> None:
        self._waiting -= 1
        if delivery.lane is None:
            return
        behind = self._lanes[delivery.lane]
        if behind:
            self._sender.send_nowait(behind.popleft())
        else:
            del self._lanes[delivery.lane]

    def _give_up(self, delivery: Delivery, reason: str) -> None:
        delivery.note = reason
        delivery.done.set()
        self.books.changed()


@define(eq=False)
class _Exchange:
    """One attempt on the wire, redirects included.

    Attributes:
        url: what was requested last.
        status: of the answer that has begun, so that one that breaks off can be told from none.
    """

    transport: httpx.AsyncHTTPTransport
    overrides: ConnectionOverrides
    auth_token: str
    delivery: Delivery
    url: str = ""
    status: int | None = None

    async def follow(self, url: str) -> Answer:
        """Request, and request again where a 3xx points to, with the same method and a new signature."""
        answer, location = await self._request(url)
        for _ in range(REDIRECTS_MAX):
            if location is None:
                break
            answer, location = await self._request(urljoin(self.url, location))
        return answer

    async def _request(self, url: str) -> tuple[Answer, str | None]:
        response = await self.transport.handle_async_request(self._signed(url))
        try:
            self.status = response.status_code
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self.delivery.answer_max_bytes:
                    break
        finally:
            # Closing gives the connection back to the pool, and must happen when the deadline has passed too.
            with trio.move_on_after(1, shield=True):
                await response.aclose()
        location = response.headers.get("Location") if 300 <= response.status_code < 400 else None
        content_type = response.headers.get("Content-Type", "")
        return Answer(status=response.status_code, content_type=content_type, body=body), location

    def _signed(self, url: str) -> httpx.Request:
        headers = {
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": self.delivery.idempotency_token,
        }
        content = None
        params = self.delivery.params
        if self.delivery.method == "GET":
            self.url = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}" if params else url
            headers[SIGNATURE_HEADER] = signature(self.auth_token, self.url)
        else:
            self.url = url
            content = urlencode(params).encode("ascii")
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
            headers[SIGNATURE_HEADER] = signature(self.auth_token, self.url, params)
        timeout = {
            "connect": self.overrides.connect_timeout_s,
            "read": self.overrides.read_timeout_s,
            "write": self.overrides.read_timeout_s,
            # Never waited for: a line makes one request at a time.
            "pool": self.overrides.total_timeout_s,
        }
        return httpx.Request(
            self.delivery.method, self.url, headers=headers, content=content, extensions={"timeout": timeout}
        )


def _refusal(status: int) -> str | None:
    if status < 400:
        return None
    return "4xx" if status < 500 else "5xx"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
