"""The simulated Twilio in virtual time: the schedule, the sender's queue, the 24 hours."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from daemon.lab.faults import Fault
from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.schedule import Schedule
from daemon.lab.twilio.whatsapp.carrier import Pace
from daemon.lab.twilio.whatsapp.messages import Direction, Message, Status

SENDER = "whatsapp:+14155238886"
PERSON = "+5215512345678"
HOUR_S = 3600.0


def a_lab(**options: object) -> TwilioLab:
    return TwilioLab(account_sid="AC" + "0" * 32, auth_token="x", senders=[SENDER], **options)  # type: ignore[arg-type]


def send(lab: TwilioLab, body: str = "Hola", *, to: str = PERSON) -> Message:
    message = lab.world.write_down(
        direction=Direction.OUTBOUND_API,
        sender=SENDER,
        recipient=f"whatsapp:{to}",
        status=Status.QUEUED,
        body=body,
    )
    lab.carrier.accept(message)
    return message


async def test_actions_run_when_they_are_due_and_in_order(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    schedule = Schedule(LabClock())
    seen: list[tuple[str, float]] = []
    begun = trio.current_time()
    for name, delay_s in (("late", 5.0), ("soon", 1.0), ("soon after", 1.0)):
        schedule.after(delay_s, lambda name=name: seen.append((name, trio.current_time() - begun)))  # type: ignore[misc]
    await nursery.start(schedule.run)

    await trio.sleep(10)

    assert seen == [("soon", 1.0), ("soon after", 1.0), ("late", 5.0)]
    nursery.cancel_scope.cancel()


async def test_an_action_scheduled_before_all_others_is_not_late(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    schedule = Schedule(LabClock())
    seen: list[str] = []
    await nursery.start(schedule.run)
    schedule.after(60.0, partial(seen.append, "later"))
    await trio.sleep(1)

    schedule.after(1.0, partial(seen.append, "sooner"))
    await trio.sleep(2)

    assert seen == ["sooner"]
    nursery.cancel_scope.cancel()


async def test_skipped_time_makes_everything_due_that_lies_in_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    clock = LabClock(datetime(2026, 3, 5, tzinfo=UTC))
    schedule = Schedule(clock)
    seen: list[str] = []
    schedule.after(HOUR_S, partial(seen.append, "in an hour"))
    schedule.after(25 * HOUR_S, partial(seen.append, "tomorrow"))
    await nursery.start(schedule.run)

    clock.advance(24 * HOUR_S)
    await trio.testing.wait_all_tasks_blocked()

    assert seen == ["in an hour"]
    assert clock.now() - datetime(2026, 3, 6, tzinfo=UTC) < timedelta(seconds=1)
    nursery.cancel_scope.cancel()


async def test_time_does_not_go_back(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="forward"):
        LabClock().advance(-1)


async def test_a_message_goes_from_queued_to_read(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    lab = a_lab(pace=Pace(sent_s=1.0, delivered_s=2.0, read_s=3.0))
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")
    begun = lab.clock.now()

    message = send(lab)
    await trio.sleep(10)

    times = [(status.value, (at - begun).total_seconds()) for status, at in message.history]
    assert times == [("queued", 0.0), ("sent", 1.0), ("delivered", 3.0), ("read", 6.0)]
    nursery.cancel_scope.cancel()


async def test_a_person_without_receipts_reads_in_silence(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    lab = a_lab()
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")
    lab.person(PERSON).reads = False

    message = send(lab)
    await trio.sleep(10)

    assert message.status is Status.DELIVERED
    nursery.cancel_scope.cancel()


async def test_a_senders_queue_moves_at_eighty_a_second(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    lab = a_lab(pace=Pace(sent_s=0.0, delivered_s=0.0, read_s=0.0))
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")

    sent = [send(lab, str(number)) for number in range(161)]
    await trio.sleep(5)

    assert sent[-1].sent_at is not None
    assert sent[0].sent_at is not None
    assert (sent[-1].sent_at - sent[0].sent_at).total_seconds() == pytest.approx(2.0, abs=0.001)
    assert [message.body for message in lab.person(PERSON).inbox] == [str(number) for number in range(161)]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("hours", "status", "code"), [(23.9, "read", None), (24.0, "failed", 63016)])
async def test_the_window_is_open_for_24_hours(
    nursery: trio.Nursery, autojump_clock: MockClock, hours: float, status: str, code: int | None
) -> None:
    lab = a_lab(pace=Pace(sent_s=0.0, delivered_s=0.0, read_s=0.0))
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")

    lab.advance(hours * HOUR_S)
    message = send(lab)
    await trio.sleep(1)

    assert (message.status.value, message.error_code) == (status, code)
    nursery.cancel_scope.cancel()


async def test_who_never_wrote_gets_no_free_text(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    lab = a_lab()
    await nursery.start(lab.run)

    message = send(lab)
    await trio.sleep(1)

    assert (message.status, message.error_code) == (Status.FAILED, 63016)
    assert lab.person(PERSON).inbox == []
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("habit", "value", "code"), [("blocked", True, 63014), ("has_whatsapp", False, 63024)]
)
async def test_whatsapp_refuses_by_status(
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    habit: str,
    value: bool,  # noqa: FBT001
    code: int,
) -> None:
    lab = a_lab()
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")
    setattr(lab.person(PERSON), habit, value)

    message = send(lab)
    await trio.sleep(1)

    assert (message.status, message.error_code) == (Status.FAILED, code)
    nursery.cancel_scope.cancel()


async def test_a_sandbox_carries_only_to_those_who_joined_in_the_last_three_days(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    lab = a_lab(sandbox_code="verde-limón")
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")

    before = send(lab)
    await trio.sleep(1)
    lab.write(PERSON, "join verde-limón")
    [welcome] = await lab.wait_for_message(PERSON)
    joined = send(lab)
    await trio.sleep(1)
    lab.advance(72 * HOUR_S)
    after = send(lab)
    await trio.sleep(1)

    assert (before.error_code, joined.error_code, after.error_code) == (63015, None, 63015)
    assert "You are all set" in welcome.body
    nursery.cancel_scope.cancel()


async def test_a_fault_draws_the_same_for_the_same_seed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def failures(seed: int) -> list[bool]:
        lab = a_lab(seed=seed)
        await nursery.start(lab.run)
        lab.write(PERSON, "Hola")
        lab.faults.switch_on(Fault(name="message_failed", probability=0.5))
        sent = [send(lab) for _ in range(20)]
        await trio.sleep(5)
        return [message.status is Status.FAILED for message in sent]

    first, again, other = await failures(1), await failures(1), await failures(2)

    assert first == again
    assert first != other
    nursery.cancel_scope.cancel()


async def test_reset_forgets_everything_but_the_settings(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    lab = a_lab()
    await nursery.start(lab.run)
    lab.write(PERSON, "Hola")
    message = send(lab)
    lab.faults.switch_on(Fault(name="status_lost"))

    lab.reset()
    await trio.sleep(5)

    assert message.status is Status.QUEUED
    assert not lab.world.messages
    assert not lab.faults.active
    nursery.cancel_scope.cancel()
