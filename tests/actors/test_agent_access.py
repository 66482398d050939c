"""What one conversation meets at the agent, the others need not meet too."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.agent_events import SessionEnd, SessionEndReason
from actors.conversation.actor import NOTE_WITHOUT_AGENT
from actors.conversation.connect_pace import (
    AHEAD_PATIENCE_S,
    FAILURES_TO_TRIP,
    PATIENCE_S,
    Breaker,
    ConnectPace,
    CrowdedError,
)
from tests.actors.worlds import World, open_world
from tests.memory.agent import REFUSED, Start, does, echoes

FALLBACK = "Un momento, por favor."
ALERT = "agent_refused_agent_text"
LOST = SessionEnd(reason=SessionEndReason.LOST, code=None, detail="no connection")
QUOTA = SessionEnd(reason=SessionEndReason.REFUSED, code=3000, detail="quota_exceeded")
FULL = SessionEnd(reason=SessionEndReason.FULL, code=429, detail="concurrent_limit_exceeded")
REFUSING = Start(end=REFUSED)
FAILING = Start(end=LOST)


def number(person: int) -> str:
    return f"+52551234{person:04}"


async def all_write(world: World, people: range, text: str = "Hola") -> None:
    for person in people:
        await world.writes(text, who=number(person))


# --- an agent that refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize("end", [REFUSED, QUOTA], ids=["1008", "3000"])
async def test_after_one_refusal_everybody_gets_the_fallback_text_and_nobody_asks_the_agent(
    autojump_clock: MockClock, end: SessionEnd
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(end=end)
        await all_write(world, range(1))
        await trio.sleep(2)
        await all_write(world, range(1, 10))
        await trio.sleep(20)

        assert len(world.agent.sessions) == 1
        assert world.sent == [FALLBACK] * 10
        assert len(world.unanswered) == 10
        assert world.alert_keys == [ALERT, "agent_unanswered"]


async def test_a_refusing_agent_is_probed_by_one_at_growing_pauses(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery()
        await world.start_readmission()
        world.agent.usual_start = Start(after_s=2, end=REFUSED)
        await all_write(world, range(20))
        await trio.sleep(29)
        in_the_first_moment = len(world.agent.sessions)
        await trio.sleep(3600)

        probes = len(world.agent.sessions) - in_the_first_moment
        # 30, 60, 120, 240, 480 and then every 600 seconds; who probes may be up to 15 s late.
        assert 6 <= probes <= 10
        assert world.sent == [FALLBACK] * 20


async def test_once_a_probe_succeeds_everybody_is_answered_but_not_at_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery()
        await world.start_readmission()
        world.agent.usual_start = Start(end=QUOTA)
        await all_write(world, range(50))
        await trio.sleep(1000)
        world.agent.usual_start = Start()
        asked = len(world.agent.sessions)
        opened_at: list[float] = []
        for _ in range(700):
            await trio.sleep(1)
            new = len(world.agent.sessions) - asked - len(opened_at)
            opened_at += [trio.current_time()] * new

        assert world.unanswered == []
        assert world.sent == [FALLBACK] * 50 + ["re: Hola"] * 50
        assert opened_at[-1] - opened_at[0] < 20
        assert all(opened_at.count(moment) <= 21 for moment in opened_at)
        assert world.alert_keys == []


async def test_openings_go_without_a_session_while_the_agent_refuses(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = REFUSING
        for person in range(5):
            await world.call_ends(f"conv_{person}", who=number(person))
            await trio.sleep(1)

        assert len(world.agent.sessions) == 1
        assert [message.note for message in world.outbound] == [NOTE_WITHOUT_AGENT] * 5


async def test_the_alert_stands_until_a_session_is_really_taken(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_readmission()
        world.agent.usual_start = Start(greeting=[0.5, REFUSED])
        await world.call_ends("conv_1")
        await trio.sleep(40)
        await world.call_ends("conv_2")
        await trio.sleep(5)
        assert len(world.agent.sessions) == 2
        assert world.alert_keys == [ALERT]

        world.agent.usual_start = Start()
        await trio.sleep(90)
        await world.call_ends("conv_3")
        await trio.sleep(5)
        assert world.alert_keys == []


async def test_an_agent_that_refuses_is_no_concern_of_those_of_another(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.starts.append(REFUSING)
        await world.writes("uno", who=number(1))
        await trio.sleep(3)
        person_id = await world.writes("dos", who=number(2), is_told=False)
        world.database.open_conversation(person_id).agent_id = "agent_other"  # type: ignore[union-attr]
        await world.start_recovery()
        await trio.sleep(5)

        assert world.sent == [FALLBACK, "re: dos"]


async def test_a_person_whom_alone_the_agent_refuses_shuts_nobody_out(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await all_write(world, range(1))
        await trio.sleep(5)
        world.agent.starts.append(REFUSING)
        await all_write(world, range(1, 2))
        await trio.sleep(5)
        await all_write(world, range(2, 3))
        await trio.sleep(5)

        assert world.sent == ["re: Hola", FALLBACK, "re: Hola"]


async def test_a_refusal_that_may_be_personal_is_not_told_as_the_agents(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await all_write(world, range(1))
        await trio.sleep(5)
        world.agent.starts.extend([REFUSING, REFUSING])
        await all_write(world, range(1, 2))
        await trio.sleep(5)
        assert ALERT not in world.alert_keys

        await all_write(world, range(2, 3))
        await trio.sleep(5)
        assert ALERT in world.alert_keys


async def test_a_probe_whose_conversation_goes_leaves_the_probe_to_others(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.starts.extend([REFUSING, Start(after_s=1000)])
        await all_write(world, range(1))
        await trio.sleep(35)
        person_id = await world.writes("sigo aquí", who=number(0))
        await trio.sleep(5)
        assert len(world.agent.sessions) == 2
        await world.supervisor.stop(f"conversation {person_id}", reason="test")

        await all_write(world, range(1, 2), "dos")
        await trio.sleep(5)
        assert world.sent[-1] == "re: dos"


async def test_after_a_restart_nobody_waits_out_the_pauses_of_the_life_before(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_start = REFUSING
        await all_write(world, range(1))
        await trio.sleep(1000)
        assert world.sent == [FALLBACK]
        world.agent.usual_start = Start()
        await world.start_readmission()
        await trio.sleep(5)

        assert world.sent == [FALLBACK, "re: Hola"]


# --- a vendor in trouble ------------------------------------------------------------------------------


async def test_sessions_are_opened_at_a_limited_rate(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await all_write(world, range(100))
        await trio.sleep(0.1)
        at_once = len(world.agent.sessions)
        await trio.sleep(3)
        after_3_s = len(world.agent.sessions)
        await trio.sleep(15)

        assert at_once <= 12
        assert 38 <= after_3_s <= 42
        assert world.sent == ["re: Hola"] * 100


@pytest.mark.long
async def test_five_hundred_conversations_do_not_hammer_a_vendor_that_is_down(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        await world.start_recovery()
        await world.start_readmission()
        world.agent.usual_start = FAILING
        await all_write(world, range(500))
        await trio.sleep(600)
        assert len(world.agent.sessions) < 80
        assert world.sent == [FALLBACK] * 500
        assert set(world.alert_keys) == {"agent_sessions_fail", "agent_unanswered"}

        world.agent.usual_start = Start()
        await trio.sleep(180)
        assert world.unanswered == []
        assert world.alert_keys == []


async def test_a_restarted_daemon_wakes_nobody_faster_than_sessions_can_be_opened(
    autojump_clock: MockClock,
) -> None:
    async with open_world(sockets_max=500) as world:
        for person in range(400):
            await world.writes("Hola", who=number(person), is_told=False)
        await world.start_recovery()
        await trio.sleep(400)

        assert world.unanswered == []
        assert world.sent == ["re: Hola"] * 400


async def test_openings_do_not_wait_while_most_sessions_fail(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = FAILING
        await all_write(world, range(FAILURES_TO_TRIP))
        await trio.sleep(3)
        asked = len(world.agent.sessions)
        await world.call_ends(who=number(9999))
        await wait_all_tasks_blocked()

        assert [m.note for m in world.outbound if m.call_id] == [NOTE_WITHOUT_AGENT]
        assert len(world.agent.sessions) - asked <= 1


async def test_an_opening_is_the_trial_while_nobody_waits_for_an_answer(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_readmission()
        world.agent.usual_start = FAILING
        for person in range(FAILURES_TO_TRIP):
            await world.call_ends(f"conv_{person}", who=number(person))
        await trio.sleep(5)
        assert world.alert_keys == ["agent_sessions_fail"]

        world.agent.usual_start = Start()
        await world.call_ends("conv_trial", who=number(9998))
        await trio.sleep(5)
        assert world.outbound[-1].note is None
        assert world.alert_keys == []


async def test_of_openings_at_once_only_one_is_the_trial_and_the_others_do_not_wait(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_start = FAILING
        for person in range(FAILURES_TO_TRIP):
            await world.call_ends(f"conv_{person}", who=number(person))
        await trio.sleep(5)
        asked, openings = len(world.agent.sessions), len(world.outbound)
        world.agent.usual_start = Start(after_s=8)
        for person in range(100, 105):
            await world.call_ends(f"conv_{person}", who=number(person))
        await trio.sleep(1)
        assert len(world.agent.sessions) - asked == 1
        assert [message.note for message in world.outbound[openings:]] == [NOTE_WITHOUT_AGENT] * 4

        await trio.sleep(8)
        assert world.outbound[-1].note is None


async def test_when_the_workspace_is_full_the_longest_idle_gives_way(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await all_write(world, range(5))
        await trio.sleep(10)
        world.agent.starts.append(Start(end=FULL))
        await all_write(world, range(5, 6), "yo también")
        await trio.sleep(10)

        assert world.sent[-1] == "re: yo también"
        assert len(world.agent.open_sessions) == 5
        assert world.alert_keys == ["agent_crowded"]


async def test_a_lowered_limit_recovers_and_the_alert_with_it(autojump_clock: MockClock) -> None:
    async with open_world(sockets_max=100) as world:
        await world.start_readmission()
        await all_write(world, range(10))
        await trio.sleep(10)
        world.agent.starts.append(Start(end=FULL))
        await all_write(world, range(10, 11))
        await trio.sleep(10)
        assert world.budget.limit == 10
        assert world.budget.is_lowered

        await trio.sleep(60)
        assert world.budget.limit == 15
        await trio.sleep(20 * 60)
        assert world.budget.limit == 100
        assert world.alert_keys == []


async def test_who_needs_a_socket_gets_the_one_that_is_being_opened_ahead(autojump_clock: MockClock) -> None:
    async with open_world(sockets_max=1) as world:
        world.agent.starts.append(Start(after_s=100))
        await world.call_ends(who=number(1))
        await trio.sleep(5)
        assert world.sent == []
        await world.writes("Hola", who=number(2))
        await trio.sleep(5)

        assert [message.note for message in world.outbound] == [NOTE_WITHOUT_AGENT, None]
        assert world.sent[-1] == "re: Hola"


# --- the pace itself ----------------------------------------------------------------------------------


async def taking(
    pace: ConnectPace, took: Callable[[str], None], name: str, *, is_ahead: bool = False
) -> None:
    try:
        await pace.take(is_ahead=is_ahead)
    except CrowdedError:
        took(f"{name} crowded")
    else:
        took(name)


async def test_who_waits_for_an_answer_comes_before_what_is_opened_ahead(autojump_clock: MockClock) -> None:
    pace, took = ConnectPace(1, Breaker()), list[str]()
    await pace.take(is_ahead=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: taking(pace, took.append, "ahead", is_ahead=True))
        await trio.sleep(0.5)
        nursery.start_soon(lambda: taking(pace, took.append, "answer"))

    assert took == ["answer", "ahead"]
    assert trio.current_time() == pytest.approx(2)
    assert len(pace) == 0


async def test_nobody_waits_for_longer_than_is_sensible(autojump_clock: MockClock) -> None:
    breaker, took = Breaker(), list[str]()
    pace = ConnectPace(10, breaker)
    async with trio.open_nursery() as nursery:
        for _ in range(FAILURES_TO_TRIP):
            breaker.failed(trio.current_time(), is_trial=False)
        await taking(pace, took.append, "ahead", is_ahead=True)
        assert took == ["ahead crowded"]
        nursery.start_soon(lambda: taking(pace, took.append, "trial"))
        await wait_all_tasks_blocked()
        nursery.start_soon(lambda: taking(pace, took.append, "answer"))

    assert took == ["ahead crowded", "trial", "answer crowded"]
    assert trio.current_time() == pytest.approx(PATIENCE_S)


async def test_what_is_opened_ahead_waits_less(autojump_clock: MockClock) -> None:
    pace, took = ConnectPace(0.1, Breaker()), list[str]()
    await pace.take(is_ahead=False)
    with trio.CancelScope() as others:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: taking(pace, took.append, "answer"))
            nursery.start_soon(lambda: taking(pace, took.append, "ahead", is_ahead=True))
            await trio.sleep(AHEAD_PATIENCE_S + 1)
            others.cancel()

    assert sorted(took) == ["ahead crowded", "answer"]


async def test_a_trial_that_is_due_goes_to_what_is_opened_ahead_when_nobody_waits(
    autojump_clock: MockClock,
) -> None:
    breaker = Breaker()
    pace = ConnectPace(10, breaker)
    for _ in range(FAILURES_TO_TRIP):
        breaker.failed(trio.current_time(), is_trial=False)
    await trio.sleep(breaker.free_at())

    assert await pace.take(is_ahead=True)
    with pytest.raises(CrowdedError):
        await pace.take(is_ahead=True)
    assert trio.current_time() == pytest.approx(1)


async def test_a_trial_that_somebody_waits_for_is_not_taken_ahead(autojump_clock: MockClock) -> None:
    breaker, took = Breaker(), list[str]()
    pace = ConnectPace(10, breaker)
    for _ in range(FAILURES_TO_TRIP):
        breaker.failed(trio.current_time(), is_trial=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: taking(pace, took.append, "answer"))
        await wait_all_tasks_blocked()
        autojump_clock.jump(1)
        await taking(pace, took.append, "ahead", is_ahead=True)

    assert took == ["ahead crowded", "answer"]


async def test_who_is_cancelled_leaves_the_queue_to_the_next(autojump_clock: MockClock) -> None:
    pace, took = ConnectPace(1, Breaker()), list[str]()
    await pace.take(is_ahead=False)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(lambda: taking(pace, took.append, "second"))
            await pace.take(is_ahead=False)

    assert len(pace) == 0
    assert len(took) == 1


# --- a person who writes too much ---------------------------------------------------------------------


async def test_who_writes_too_much_is_answered_together_after_a_minute_in_order(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        for second in range(100):
            await world.writes(str(second))
            await trio.sleep(1)
        await trio.sleep(120)

        heard = [text for session in world.agent.heard for text in session]
        assert "\n".join(heard).split("\n") == [str(second) for second in range(100)]
        assert world.unanswered == []
        # Until the rule bites there is a turn every second or so, and from then on one a minute.
        assert len(heard) <= 20 + 2
        assert max(len(text.split("\n")) for text in heard) > 50
        assert world.alert_keys == []


async def test_a_flood_is_held_back_by_the_next_life_too(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes(*map(str, range(30)), is_told=False)
        await world.start_recovery()
        await trio.sleep(50)
        assert world.agent.heard in ([], [[]])

        await trio.sleep(20)
        assert world.sent == ["re: " + "\n".join(map(str, range(30)))]


async def test_who_is_held_back_sees_the_typing_indicator_all_the_while(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes(*map(str, range(30)))
        await trio.sleep(70)

        assert [at for at, _ in world.messaging.typing] == [0, 20, 40, 60]


async def test_who_is_held_back_after_an_answer_sees_the_typing_indicator_again(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=10)
        await world.writes("Hola")
        await trio.sleep(5)
        await world.writes(*map(str, range(30)))
        await trio.sleep(60)

        assert world.sent == ["re: Hola"]
        assert [at for at, _ in world.messaging.typing] == [0, 12, 32, 52]


async def test_others_are_answered_at_once_meanwhile(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes(*map(str, range(40)), who=number(1))
        await world.writes("Hola", who=number(2))
        await trio.sleep(5)

        assert world.sent == ["re: Hola"]


async def test_another_bot_is_slowed_down(autojump_clock: MockClock) -> None:
    """It answers each answer at once; unhindered that would be a hundred turns in five minutes."""
    async with open_world() as world:
        answered = 0
        with trio.move_on_after(300):
            await world.writes("hola")
            while True:
                await trio.sleep(0.1)
                if len(world.sent) > answered:
                    answered = len(world.sent)
                    await world.writes("¿y entonces?")

        assert answered <= 5 * 21


async def test_a_turn_of_very_many_words_is_cut_for_the_agent_and_answered_as_a_whole(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes()
        await world.writes("primero", *("relleno " * 500 for _ in range(10)), "¿me oye?")
        await trio.sleep(10)

        (said,) = world.agent.heard[0]
        assert len(said) <= 8000
        assert said.startswith("primero\n[… ")
        assert said.endswith("¿me oye?")
        assert world.unanswered == []


# --- alerts that are true -----------------------------------------------------------------------------


async def test_the_alert_about_the_unanswered_stands_until_the_last_of_them_is_answered(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        await world.start_recovery()
        world.agent.usual_reaction = does(REFUSED)
        await all_write(world, range(2))
        await trio.sleep(20)
        world.agent.usual_reaction = echoes()
        await trio.sleep(20)
        (alert,) = [alert for alert in world.alerts.standing if alert.key == "agent_unanswered"]
        assert "2" in alert.text

        await world.writes("¿hola?", who=number(0))
        await trio.sleep(20)
        (alert,) = [alert for alert in world.alerts.standing if alert.key == "agent_unanswered"]
        assert ": 1;" in alert.text

        await world.writes("¿hola?", who=number(1))
        await trio.sleep(20)
        assert world.alert_keys == []


async def test_it_is_there_again_after_a_restart(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = REFUSING
        await all_write(world, range(1))
        await trio.sleep(20)
        world.alerts.settle("agent_unanswered")
        await world.start_recovery()
        await trio.sleep(1)

        assert "agent_unanswered" in world.alert_keys
