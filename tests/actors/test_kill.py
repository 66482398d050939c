"""`kill -9` at any moment, faults at Twilio and at the agent: everybody is answered, in order, once."""

from collections.abc import Sequence
from random import Random

import trio
from attrs import Factory, define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.calls import FollowUpState
from actors.messages import NotSent
from tests.actors.worlds import World, open_world
from tests.memory.agent import LOST, MemoryAgent, MemorySession, Start, Step, says
from tests.memory.clock import VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.messaging import Lost, MemoryMessaging

LONG_S = 600.0
PEOPLE = 3


def address_of(person: int) -> str:
    return f"+52551234000{person}"


@frozen
class Writes:
    person: int


@frozen
class Called:
    person: int


@frozen
class Killed:
    """The daemon dies, and is started again after so long."""

    for_s: float


Happening = Writes | Called | Killed

happenings = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 1.0, 2.5, 7.0]),
        st.one_of(
            st.builds(Writes, st.integers(1, PEOPLE)),
            st.builds(Writes, st.integers(1, PEOPLE)),
            st.builds(Called, st.integers(1, PEOPLE)),
            st.builds(Killed, st.sampled_from([0.0, 1.0, 30.0])),
        ),
    ),
    max_size=14,
)


@define(eq=False)
class Storm:
    """What outlives the daemon, and what has to come of it."""

    chance: Random
    clock: VirtualClock = Factory(VirtualClock)
    database: MemoryDatabase = Factory(MemoryDatabase)
    messaging: MemoryMessaging = field(init=False)
    written: dict[int, list[str]] = field(factory=dict)
    calls: int = 0

    def __attrs_post_init__(self) -> None:
        self.messaging = MemoryMessaging(self.clock, send_s=0.2)

    def agent(self) -> MemoryAgent:
        return MemoryAgent(usual_start=Start(after_s=0.4), usual_reaction=self._react)

    def _react(self, session: MemorySession, heard: str) -> Sequence[Step]:
        if self.chance.random() < 0.15:
            return [0.5, LOST]
        return list(
            says(
                f"re: {heard}", after_s=self.chance.choice([0.1, 3.0]), completes=self.chance.random() < 0.5
            )(session, heard)
        )

    async def live(self, happenings: Sequence[tuple[float, Happening]]) -> None:
        """One life of the daemon after the other, until nothing more happens."""
        rest = list(happenings)
        while True:
            async with open_world(
                database=self.database, messaging=self.messaging, clock=self.clock, agent=self.agent()
            ) as world:
                await world.start_recovery()
                killed = await self._happen(world, rest)
                if killed is None:
                    self.messaging.outcomes.clear()
                    await trio.sleep(LONG_S)
                    return
            self.messaging.in_flight.clear()
            await trio.sleep(killed.for_s)

    async def _happen(self, world: World, rest: list[tuple[float, Happening]]) -> Killed | None:
        while rest:
            pause_s, happening = rest.pop(0)
            self.messaging.outcomes.append(
                self.chance.choice([None, None, *Lost, NotSent(code=63018, detail="rate")])
            )
            await trio.sleep(pause_s)
            match happening:
                case Writes(person):
                    texts = self.written.setdefault(person, [])
                    texts.append(f"{person}.{len(texts)}")
                    await world.writes(texts[-1], who=address_of(person))
                case Called(person):
                    self.calls += 1
                    await world.call_ends(
                        f"conv_{self.calls}", who=address_of(person), summary=f"nr {self.calls}."
                    )
                case Killed():
                    return happening
        return None


@settings(max_examples=30, deadline=None)
@given(happenings, st.integers(0, 2**32))
def test_whatever_happens_everybody_is_answered_in_order_and_once(
    happenings: Sequence[tuple[float, Happening]], seed: int
) -> None:
    storm = Storm(Random(seed))
    trio.run(storm.live, happenings, clock=MockClock(autojump_threshold=0))

    for person in range(1, PEOPLE + 1):
        bodies = storm.messaging.bodies_to(address_of(person))
        answers = [body for body in bodies if body.startswith("re: ")]
        answered = "\n".join(body.removeprefix("re: ") for body in answers).split()
        assert answered == storm.written.get(person, [])
    openings = [body for body in storm.messaging.bodies if body.startswith("Hola")]
    assert sorted(openings) == sorted(f"Hola, Ana: nr {number + 1}." for number in range(storm.calls))
    assert len(storm.messaging.bodies) == len(storm.database.outbound)
    assert {call.follow_up for call in storm.database.calls.values()} <= {FollowUpState.HANDLED}
