"""One end of a WebSocket against another library's other end: wsproto's, which shares no code with ours."""

from collections.abc import Callable

import pytest
import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from websockets.protocol import Protocol, Side, State
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from daemon.websocket import Beats, WebSocket, server_protocol

MAX_BYTES = 1_000


@define(eq=False)
class Ends:
    """Ours reads what `octets` has, piece by piece, then the end; what it writes goes to theirs."""

    ours: WebSocket = field(init=False)
    theirs: Connection = field(init=False)
    octets: list[bytes] = field(factory=list)
    written: bytearray = field(factory=bytearray)
    is_server: bool = True
    is_gone: bool = False

    def __attrs_post_init__(self) -> None:
        protocol = (
            server_protocol(max_message_bytes=MAX_BYTES)
            if self.is_server
            else Protocol(Side.CLIENT, state=State.OPEN, max_size=MAX_BYTES)
        )
        self.theirs = Connection(ConnectionType.CLIENT if self.is_server else ConnectionType.SERVER)
        self.ours = WebSocket(protocol, self.read, self.write, (trio.BrokenResourceError,))

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.octets.pop(0) if self.octets else b""

    async def write(self, octets: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_gone:
            raise trio.BrokenResourceError
        self.written += octets

    def say(self, *events: Event) -> None:
        self.octets.append(b"".join(self.theirs.send(event) for event in events))

    def heard(self) -> list[Event]:
        """What theirs makes of all that ours has written."""
        self.theirs.receive_data(bytes(self.written))
        self.written.clear()
        return list(self.theirs.events())

    def receive_all(self) -> list[str | bytes]:
        async def main() -> list[str | bytes]:
            found = []
            while (message := await self.ours.receive()) is not None:
                found.append(message)
            return found

        return trio.run(main)


MESSAGES = st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=6)
ENDS = st.builds(Ends, is_server=st.booleans())


def event_of(message: str | bytes, *, finished: bool = True) -> Event:
    if isinstance(message, str):
        return TextMessage(data=message, message_finished=finished)
    return BytesMessage(data=message, message_finished=finished)


@given(ends=ENDS, messages=MESSAGES, cuts=st.lists(st.integers(1, 60), min_size=1), parts=st.integers(1, 4))
def test_messages_come_whole_however_they_are_cut(
    ends: Ends, messages: list[str | bytes], cuts: list[int], parts: int
) -> None:
    said = b""
    for message in messages:
        size = len(message) // parts + 1
        pieces = [message[place : place + size] for place in range(0, len(message), size)] or [message]
        for number, piece in enumerate(pieces, start=1):
            said += ends.theirs.send(event_of(piece, finished=number == len(pieces)))
    for number in range(len(said)):
        if not said:
            break
        cut = cuts[number % len(cuts)]
        ends.octets.append(said[:cut])
        said = said[cut:]

    assert ends.receive_all() == messages
    assert ends.ours.close_code == 1006


@given(ends=ENDS, messages=MESSAGES)
def test_messages_go_out_as_they_are(ends: Ends, messages: list[str | bytes]) -> None:
    async def main() -> None:
        for message in messages:
            assert await ends.ours.send(message)

    trio.run(main)
    heard = ends.heard()
    assert [getattr(event, "data", None) for event in heard] == messages


def test_what_was_said_before_a_close_is_given_first_and_the_close_answered() -> None:
    ends = Ends()
    ends.say(TextMessage(data="uno"), TextMessage(data="dos"), CloseConnection(code=4321, reason="basta"))

    assert ends.receive_all() == ["uno", "dos"]
    assert (ends.ours.close_code, ends.ours.close_reason, ends.ours.is_open) == (4321, "basta", False)
    assert ends.heard() == [CloseConnection(code=4321, reason="basta")]


def test_pings_are_answered_in_their_order_and_between_the_words() -> None:
    ends = Ends()
    ends.say(Ping(payload=b"1"), TextMessage(data="a"), Ping(payload=b"2"), Pong(payload=b"nobody asked"))

    assert ends.receive_all() == ["a"]
    assert ends.heard() == [Pong(payload=b"1"), Pong(payload=b"2")]


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (lambda ends: ends.say(TextMessage(data="x" * (MAX_BYTES + 1))), 1009),
        (lambda ends: ends.say(*[TextMessage(data="x" * 400, message_finished=False)] * 3), 1009),
        (lambda ends: ends.say(*[TextMessage(data="", message_finished=False)] * 1_002), 1009),
        (lambda ends: ends.octets.append(b"\x81\x82\x00\x00\x00\x00\xff\xfe"), 1007),
        (lambda ends: ends.octets.append(b"\x81\x02hi"), 1002),
        (lambda ends: ends.octets.append(b"\xff\xff\xff\xff"), 1002),
        (lambda ends: ends.octets.append(b"\x80\x80\x00\x00\x00\x00"), 1002),
    ],
    ids=[
        "too long",
        "too long in parts",
        "too many parts",
        "no UTF-8",
        "unmasked",
        "nonsense",
        "out of order",
    ],
)
def test_what_may_not_be_ends_it_with_its_code(say: Callable[[Ends], None], code: int) -> None:
    ends = Ends()
    ends.say(TextMessage(data="antes"))
    say(ends)
    ends.octets.append(ends.theirs.send(CloseConnection(code=1000)))

    assert ends.receive_all() == ["antes"]
    assert ends.ours.close_code == code
    assert [event.code for event in ends.heard() if isinstance(event, CloseConnection)] == [code]


async def test_after_our_close_nothing_is_sent_or_given() -> None:
    ends = Ends()
    ends.say(TextMessage(data="tarde"))

    await ends.ours.close(1001, "ñ" * 100)
    assert not await ends.ours.send("nada")
    await ends.ours.close(1000)
    assert await ends.ours.receive() is None
    [closed] = ends.heard()
    assert isinstance(closed, CloseConnection)
    assert (closed.code, closed.reason) == (1001, "ñ" * 61)


async def test_it_waits_for_the_other_sides_close_and_takes_no_more_of_it() -> None:
    ends = Ends(is_server=False)
    await ends.ours.close(1000)
    ends.heard()
    ends.say(CloseConnection(code=1000))
    ends.octets.append(b"never read")

    await ends.ours.wait_closed()

    assert ends.octets == [b"never read"]


async def test_what_came_before_is_given_although_a_pong_has_no_taker() -> None:
    ends = Ends(is_gone=True)
    ends.say(Ping(), TextMessage(data="adiós"))

    assert await ends.ours.receive() == "adiós"
    with pytest.raises(trio.BrokenResourceError):
        await ends.ours.send("¿hola?")


async def test_a_message_that_is_there_is_given_without_letting_others_run() -> None:
    ends = Ends()
    ends.say(TextMessage(data="a"), TextMessage(data="b"))
    assert await ends.ours.receive() == "a"

    task = trio.lowlevel.current_task()
    before = task._schedule_points
    assert await ends.ours.receive() == "b"
    assert task._schedule_points == before


# --- Beats ----------------------------------------------------------------------------------------------


async def test_all_wait_for_the_same_moments(autojump_clock: MockClock) -> None:
    beats, woke = Beats(0.04), list[float]()

    async def wait(after_s: float) -> None:
        await trio.sleep(after_s)
        await beats.next(after_s=trio.current_time())
        woke.append(round(trio.current_time(), 6))

    async with trio.open_nursery() as nursery:
        for after_s in (0.0, 0.001, 0.019, 0.021, 0.039, 0.041):
            nursery.start_soon(wait, after_s)

    assert woke == [0.04, 0.04, 0.04, 0.08, 0.08, 0.08]


async def test_whoever_leads_may_leave(autojump_clock: MockClock) -> None:
    beats, woke = Beats(0.04), list[float]()

    async def wait() -> None:
        await beats.next(after_s=-1.0)
        woke.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.01):
            nursery.start_soon(wait)
            await trio.lowlevel.checkpoint()
            await beats.next(after_s=-1.0)
        await beats.next(after_s=trio.current_time())

    assert trio.current_time() == pytest.approx(0.04)
    assert len(woke) == 1
