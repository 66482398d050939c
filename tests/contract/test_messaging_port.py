"""The port `Messaging`, over everything that implements it: the adapter on the simulated Twilio, and both fakes.

What only one of them can do is tested elsewhere; here is what a caller may count on whichever it is given.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import pytest
import trio
from attrs import define, evolve, field, frozen
from typing_extensions import override

from actors.conversation.identity import identities_of, whatsapp_address_candidates
from actors.messages import Accepted, NotSent, Outgoing, Refused, SendResult, Unknown
from actors.ports import Messaging, VendorUnavailableError
from tests.contract.lab_twilio import LIMIT_S, PERSON, served
from tests.contract.lab_twilio import Bench as TwilioBench
from tests.contract.stores import inbound
from tests.contract.test_messaging_lab import MESSAGE, messaging
from tests.memory.clock import VirtualClock
from tests.memory.messaging import Lost, MemoryMessaging
from tests.simulation import twilio_line
from tests.simulation.chance import Chance, Fault
from tests.simulation.clocks import JumpingClock
from tests.simulation.perils import Perils
from tests.simulation.trace import Trace
from tests.simulation.twilio import Twilio
from tests.simulation.twilio_line import TwilioLine

REFUSAL = 21211
SOMEBODY_ELSE = "+525599999999"
LONG_S = 600
"""Well beyond the minute by which the clocks of Twilio and ours may differ."""

T = TypeVar("T")


class Bench(Protocol):
    """An implementation of the port, and the vendor behind it. What is sent is accepted unless it was told otherwise."""

    @property
    def port(self) -> Messaging: ...

    def now(self) -> datetime: ...

    def pass_time(self, seconds: float) -> None: ...

    def person_writes(self, text: str) -> str:
        """`PERSON` does; returns the SID."""
        ...

    def refuse_next(self) -> None:
        """With the code `REFUSAL`."""
        ...

    def throttle_next(self) -> None: ...

    def lose_next_request(self) -> None: ...

    def lose_next_answer(self) -> None: ...

    def fail_next_list(self) -> None: ...


# --- The adapter on the lab ---------------------------------------------------------------------------


@frozen
class LabBench:
    twilio: TwilioBench
    port: Messaging

    def now(self) -> datetime:
        return self.twilio.lab.clock.now()

    def pass_time(self, seconds: float) -> None:
        self.twilio.lab.advance(seconds)

    def person_writes(self, text: str) -> str:
        return self.twilio.lab.write(PERSON, text)

    def refuse_next(self) -> None:
        self.twilio.fault("rest_refused", code=REFUSAL)

    def throttle_next(self) -> None:
        self.twilio.fault("rest_429")

    def lose_next_request(self) -> None:
        self.twilio.fault("rest_drop_before")

    def lose_next_answer(self) -> None:
        self.twilio.fault("rest_timeout_after", seconds=0)

    def fail_next_list(self) -> None:
        self.twilio.fault("rest_500_before", on="message.list")


@asynccontextmanager
async def adapter_on_the_lab() -> AsyncIterator[Bench]:
    async with served(incoming=None) as twilio, messaging(twilio) as port:
        yield LabBench(twilio, port)


# --- The fake in memory -------------------------------------------------------------------------------


@frozen
class MemoryBench:
    clock: VirtualClock
    port: MemoryMessaging

    def now(self) -> datetime:
        return self.clock.now()

    def pass_time(self, seconds: float) -> None:
        self.clock.ahead += timedelta(seconds=seconds)

    def person_writes(self, text: str) -> str:
        sid = f"SM-in-{len(self.port.received) + 1}"
        self.port.received.append((self.now(), inbound(sid, text=text)))
        return sid

    def refuse_next(self) -> None:
        self.port.outcomes.append(Refused(code=REFUSAL, detail="invalid number"))

    def throttle_next(self) -> None:
        self.port.outcomes.append(NotSent(code=20429, detail="too many requests"))

    def lose_next_request(self) -> None:
        self.port.outcomes.append(Lost.BEFORE_IT_ARRIVED)

    def lose_next_answer(self) -> None:
        self.port.outcomes.append(Lost.AFTER_IT_WAS_ACCEPTED)

    def fail_next_list(self) -> None:
        self.port.lookup_failures.append(VendorUnavailableError("the list cannot be read"))


@asynccontextmanager
async def fake_in_memory() -> AsyncIterator[Bench]:
    clock = VirtualClock()
    with trio.fail_after(LIMIT_S):
        yield MemoryBench(clock, MemoryMessaging(clock))


# --- The simulation's ---------------------------------------------------------------------------------


@define(eq=False)
class Told(Chance):
    """Nothing is left to chance: the faults of `due` strike, once each, and of several choices the first is taken."""

    due: set[Fault] = field(factory=set)

    @override
    def strikes(self, fault: Fault, weight: float = 1.0) -> bool:
        is_due = fault in self.due
        self.due.discard(fault)
        return is_due

    @override
    def between(self, least: float, most: float) -> float:
        return least

    @override
    def one_of(self, choices: Sequence[T]) -> T:
        return choices[0]


class Immortal:
    is_dead = False

    def kill(self) -> None:
        raise AssertionError("it was not to be killed")


@frozen
class SimulationBench:
    twilio: Twilio
    chance: Told
    port: TwilioLine

    def now(self) -> datetime:
        return self.twilio.books.clock.now()

    def pass_time(self, seconds: float) -> None:
        clock = self.twilio.books.clock
        assert isinstance(clock, VirtualClock)
        clock.ahead += timedelta(seconds=seconds)

    def person_writes(self, text: str) -> str:
        sid = f"SM-in-{len(self.twilio.books.received) + 1}"
        self.twilio.receive(inbound(sid, text=text))
        return sid

    def refuse_next(self) -> None:
        self.chance.due.add(Fault.SEND_REFUSED)

    def throttle_next(self) -> None:
        self.chance.due.add(Fault.SEND_THROTTLED)

    def lose_next_request(self) -> None:
        self.chance.due.add(Fault.REQUEST_LOST)

    def lose_next_answer(self) -> None:
        self.chance.due.add(Fault.ANSWER_LOST)

    def fail_next_list(self) -> None:
        self.chance.due.add(Fault.LIST_FAILS)


def ignore(*_: object) -> None:
    """Webhooks are not the port's."""


@asynccontextmanager
async def simulation() -> AsyncIterator[Bench]:
    chance, trace = Told(seed=0), Trace()
    twilio = Twilio(
        chance=chance, trace=trace, later=ignore, post_message=ignore, post_status=ignore, on_taken=ignore
    )
    with pytest.MonkeyPatch.context() as patch, trio.fail_after(LIMIT_S):
        # A lost request is waited for by the real clock here.
        patch.setattr(twilio_line, "REQUEST_S", 0.0)
        yield SimulationBench(
            twilio, chance, TwilioLine(twilio, Perils(Immortal(), chance, trace), JumpingClock())
        )


# --- The suite ----------------------------------------------------------------------------------------


@pytest.fixture(params=[adapter_on_the_lab, fake_in_memory, simulation])
def opened(request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Bench]:
    open_bench: Callable[[], AbstractAsyncContextManager[Bench]] = request.param
    return open_bench()


Opened = AbstractAsyncContextManager[Bench]


async def send(bench: Bench, message: Outgoing = MESSAGE) -> SendResult:
    return await bench.port.send(message, as_template=False)


async def listed(bench: Bench, since: datetime, address: str = PERSON) -> list[tuple[str, str]]:
    return [(sent.sid, sent.body) for sent in await bench.port.sent_to(address, since=since)]


async def heard(bench: Bench, since: datetime, until: datetime | None = None) -> list[tuple[str, str]]:
    return [(message.sid, message.text) async for message in bench.port.received_since(since, until=until)]


class TestSend:
    async def test_what_is_accepted_has_a_sid_and_is_listed_with_its_body(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            result = await send(bench)
            assert isinstance(result, Accepted)
            assert result.sid
            assert await listed(bench, since) == [(result.sid, MESSAGE.text)]
            assert await listed(bench, since, SOMEBODY_ELSE) == []

    async def test_a_refusal_has_its_code_and_nothing_is_listed(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.refuse_next()
            result = await send(bench)
            assert isinstance(result, Refused)
            assert result.code == REFUSAL
            assert await listed(bench, since) == []

    async def test_what_was_throttled_did_not_go(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.throttle_next()
            result = await send(bench)
            assert isinstance(result, NotSent)
            assert result.code == 20429
            assert await listed(bench, since) == []
            assert isinstance(await send(bench), Accepted)

    async def test_an_answer_that_was_lost_leaves_it_open_and_the_message_is_listed(
        self, opened: Opened
    ) -> None:
        async with opened as bench:
            since = bench.now()
            bench.lose_next_answer()
            assert isinstance(await send(bench), Unknown)
            assert [body for _, body in await listed(bench, since)] == [MESSAGE.text]

    async def test_a_request_that_was_lost_leaves_it_open_and_nothing_is_listed(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.lose_next_request()
            assert isinstance(await send(bench), Unknown)
            assert await listed(bench, since) == []


class TestSentTo:
    @pytest.mark.parametrize("asked", whatsapp_address_candidates(PERSON))
    async def test_lists_under_every_spelling_of_the_number(self, opened: Opened, asked: str) -> None:
        others = [spelling for spelling in whatsapp_address_candidates(PERSON) if spelling != asked]
        assert others
        async with opened as bench:
            since = bench.now()
            for spelling in others:
                await send(bench, evolve(MESSAGE, address=spelling))
            assert [body for _, body in await listed(bench, since, asked)] == [MESSAGE.text] * len(others)

    async def test_leaves_out_what_is_older(self, opened: Opened) -> None:
        async with opened as bench:
            await send(bench, evolve(MESSAGE, text="antes"))
            bench.pass_time(LONG_S)
            since = bench.now()
            await send(bench, evolve(MESSAGE, text="después"))
            assert [body for _, body in await listed(bench, since)] == ["después"]

    async def test_says_so_when_the_list_cannot_be_read(self, opened: Opened) -> None:
        async with opened as bench:
            bench.fail_next_list()
            with pytest.raises(VendorUnavailableError):
                await listed(bench, bench.now())
            assert await listed(bench, bench.now()) == []


class TestReceivedSince:
    async def test_gives_what_people_wrote_newest_first(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            written = []
            for text in ("uno", "dos", "tres"):
                written.append((bench.person_writes(text), text))
                bench.pass_time(1)
            await send(bench)
            assert await heard(bench, since) == written[::-1]

    async def test_names_the_person(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.person_writes("Hola")
            (message,) = [message async for message in bench.port.received_since(since)]
        assert (message.address, message.identities) == (PERSON, identities_of(PERSON))

    async def test_leaves_out_what_is_older_and_what_is_too_new(self, opened: Opened) -> None:
        async with opened as bench:
            bench.person_writes("antes")
            bench.pass_time(LONG_S)
            since = bench.now()
            within = bench.person_writes("dentro")
            bench.pass_time(LONG_S)
            until = bench.now()
            bench.pass_time(LONG_S)
            after = bench.person_writes("después")
            assert await heard(bench, since, until) == [(within, "dentro")]
            assert await heard(bench, since) == [(after, "después"), (within, "dentro")]

    async def test_says_so_when_the_list_cannot_be_read(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            sid = bench.person_writes("Hola")
            bench.fail_next_list()
            with pytest.raises(VendorUnavailableError):
                await heard(bench, since)
            assert await heard(bench, since) == [(sid, "Hola")]


@pytest.mark.parametrize("is_known", [True, False])
async def test_typing_is_shown_or_not_and_never_raises(opened: Opened, *, is_known: bool) -> None:
    async with opened as bench:
        sid = bench.person_writes("Hola")
        await bench.port.show_typing(sid if is_known else "SM" + "0" * 32)
