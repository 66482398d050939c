"""A message of which nobody knows whether it went is looked up before anything else of its lane."""

from datetime import timedelta

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from actors.messages import DeliveryStatus, NotSent, SentMessage, StatusReport
from actors.ports import StoreUnavailableError, VendorRefusedError, VendorUnavailableError
from actors.watch.sent_match import match_sent
from daemon.rules import outbox_rules
from daemon.settings import Settings
from tests.actors.lanes import TEMPLATE, address_of, claim, first, queue, sending, statuses
from tests.memory.clock import BEGINNING
from tests.memory.messaging import Lost
from tests.memory.outbox import MemoryOutbox

LATE = Lost.AFTER_IT_WAS_ACCEPTED
NEVER_ARRIVED = Lost.BEFORE_IT_ARRIVED


async def test_a_message_that_twilio_has_is_adopted(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        person_id = await queue(world, "uno", "dos")
        await trio.sleep(2)
        world.outbox.due(person_id)
        await trio.sleep(2)
        assert statuses(world) == ["sending", "pending"]
        assert world.messaging.lookups == []

        await trio.sleep(6)
        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["accepted", "accepted"]
        assert first(world).sid == world.messaging.created[0].sid


async def test_a_message_that_twilio_does_not_have_is_sent_again_once_that_is_certain(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(NEVER_ARRIVED)
        await queue(world, "uno", "dos")
        await trio.sleep(19)
        assert statuses(world) == ["sending", "pending"]
        assert len(world.messaging.lookups) > 2

        await trio.sleep(6)
        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["accepted", "accepted"]


async def test_a_list_that_lags_is_asked_again_and_nothing_goes_twice(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        world.messaging.list_lag_s = 15
        await queue(world, "uno")
        await trio.sleep(60)

        assert world.messaging.bodies == ["uno"]
        assert statuses(world) == ["accepted"]


async def test_a_list_that_cannot_be_read_is_asked_again_and_nothing_goes_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        failures = [VendorUnavailableError("503")] * 3 + [VendorRefusedError("401")] * 2
        world.messaging.lookup_failures.extend(failures)
        await queue(world, "uno", "dos")
        await trio.sleep(35)
        assert statuses(world) == ["sending", "pending"]
        assert world.alert_keys == ["outbox_lookup"]

        await trio.sleep(10)
        assert [round(at) for at in world.messaging.lookups] == [6, 8, 10, 14, 22, 38]
        assert world.messaging.bodies == ["uno", "dos"]
        assert world.alert_keys == []


@pytest.mark.parametrize("had_arrived", [True, False])
async def test_what_a_killed_daemon_was_sending_is_settled_by_the_next(
    autojump_clock: MockClock, *, had_arrived: bool
) -> None:
    async with sending() as world:
        person_id = await queue(world, "uno", "dos", is_told=False)
        message = await claim(world, person_id)
        if had_arrived:
            await world.messaging.send(message, as_template=False)
        await trio.sleep(40)

        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["accepted", "accepted"]


async def test_a_send_that_a_restart_cut_off_is_settled(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.send_s = 10
        await queue(world, "uno", "dos")
        await trio.sleep(5)
        await world.supervisor.stop("outbox", reason="test")
        assert statuses(world) == ["sending", "pending"]
        await world.start_outbox()
        await trio.sleep(60)

        assert world.messaging.bodies == ["uno", "dos"]


async def test_a_callback_settles_what_was_in_doubt_before_anybody_looks(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        await queue(world, "uno", "dos")
        await trio.sleep(1)
        created = world.messaging.created[0]
        report = StatusReport(
            message_id=created.message_id, sid=created.sid, status=DeliveryStatus.SENT, error_code=None
        )
        await MemoryOutbox(world.database).report(report, now=world.clock.now())
        await trio.sleep(5)

        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["sent", "accepted"]
        assert world.messaging.lookups == []


async def test_a_callback_that_overtakes_the_answer_is_not_undone(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.send_s = 3
        await queue(world, "uno", "dos")
        await trio.sleep(1)
        created = world.messaging.created[0]
        report = StatusReport(
            message_id=created.message_id, sid=created.sid, status=DeliveryStatus.DELIVERED, error_code=None
        )
        await MemoryOutbox(world.database).report(report, now=world.clock.now())
        await trio.sleep(10)

        assert statuses(world) == ["delivered", "accepted"]
        assert world.messaging.bodies == ["uno", "dos"]


async def test_a_database_that_is_lost_after_the_send_leaves_a_doubt_that_is_settled(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.outbox_store.failure = StoreUnavailableError("gone")
        await trio.sleep(0.5)
        world.outbox_store.fails_at = len(world.outbox_store.calls) + 2  # the claim, and then
        await queue(world, "uno", "dos")
        await trio.sleep(20)

        assert "accepted" in world.outbox_store.calls
        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["accepted", "accepted"]


async def test_the_same_words_sent_before_are_not_taken_for_what_is_in_doubt(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.extend([None, NEVER_ARRIVED])
        await queue(world, "sí", "sí")
        await trio.sleep(60)

        assert world.messaging.bodies == ["sí", "sí"]
        assert len({message.sid for message in world.outbound}) == 2


async def test_a_template_in_doubt_is_found_though_twilio_wrote_its_words(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        await queue(world, "uno", template=TEMPLATE, is_told=False)
        world.database.inbound.clear()
        await trio.sleep(60)

        assert world.messaging.bodies == ["template of [HX1]"]
        assert statuses(world) == ["pending", "accepted"]


async def test_doubts_of_one_are_no_concern_of_another(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(NEVER_ARRIVED)
        await queue(world, "uno", person=1)
        await trio.sleep(0.5)
        await queue(world, "dos", person=2)
        await trio.sleep(1)

        assert statuses(world) == ["sending", "accepted"]


async def test_a_long_wait_for_the_pace_is_no_part_of_a_messages_age(autojump_clock: MockClock) -> None:
    async with sending(messages_per_second=0.02, concurrency=16) as world:
        world.messaging.list_lag_s = 15
        world.messaging.outcomes.extend([None, LATE])
        await queue(world, "uno", person=1)
        await trio.sleep(1)
        await queue(world, "dos", person=2)
        await trio.sleep(1000)

        assert world.messaging.bodies == ["uno", "dos"]


async def test_of_several_candidates_the_oldest_with_the_same_words_is_it(autojump_clock: MockClock) -> None:
    async with sending(is_running=False) as world:
        person_id = await queue(world, "sí", is_told=False)
        message = await claim(world, person_id)

    listed = [
        SentMessage(sid=sid, body=body, created_at=BEGINNING)
        for sid, body in (("SM1", "no"), ("SM2", " sí\n"), ("SM3", "sí"))
    ]
    found = match_sent(message, listed)
    assert found is not None
    assert found.sid == "SM2"
    assert match_sent(message, listed[:1]) is None
    assert match_sent(message, []) is None


@pytest.mark.parametrize("went_as_template", [True, False])
async def test_other_words_are_adopted_only_for_what_went_as_a_template(
    autojump_clock: MockClock, *, went_as_template: bool
) -> None:
    async with sending(is_running=False) as world:
        person_id = await queue(world, "sí", template=TEMPLATE, is_told=False)
        first(world).must_use_template = went_as_template
        message = await claim(world, person_id)

    listed = [SentMessage(sid="SM1", body="of another system", created_at=BEGINNING)]
    assert (match_sent(message, listed) is not None) is went_as_template


async def test_what_twilio_took_at_the_last_moment_and_lists_late_goes_once(
    autojump_clock: MockClock,
) -> None:
    settings = Settings()
    rules = outbox_rules(settings)
    async with sending(look_up_after_s=rules.look_up_after_s, certain_after_s=rules.certain_after_s) as world:
        world.messaging.send_s = settings.twilio.request_timeout_s
        world.messaging.list_lag_s = settings.twilio.request_timeout_s + settings.outbox.certain_after_s - 3
        world.messaging.outcomes.append(LATE)
        await queue(world, "uno")
        await trio.sleep(120)

        assert world.messaging.bodies == ["uno"]
        assert world.messaging.lookups[0] >= 20


async def test_lost_answers_in_a_row_make_pauses_grow_and_an_alert_until_one_comes(
    autojump_clock: MockClock,
) -> None:
    async with sending(sweep_every_s=0.5, retry_first_s=10, certain_after_s=5) as world:
        world.messaging.outcomes.extend([NEVER_ARRIVED] * 4)
        await queue(world, "uno")
        await trio.sleep(43)
        assert world.alert_keys == []

        await trio.sleep(7)
        assert world.alert_keys == ["outbox_unknown"]

        await trio.sleep(150)
        times = [at for at, _ in world.messaging.attempts]
        assert times == pytest.approx([0, 15, 40, 85, 170], abs=3)
        assert statuses(world) == ["accepted"]
        assert world.alert_keys == []


async def test_what_never_gets_an_answer_is_given_up(autojump_clock: MockClock) -> None:
    async with sending(give_up_after_s=60) as world:
        world.messaging.outcomes.extend([NEVER_ARRIVED] * 3)
        await queue(world, "uno", "dos")
        await trio.sleep(100)

        assert statuses(world) == ["refused", "accepted"]
        assert first(world).error_code == 0


async def test_a_pause_of_sending_is_none_of_looking_up(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.extend([LATE, NotSent(code=20429, detail="slow", retry_after_s=200)])
        await queue(world, "uno", person=1)
        await trio.sleep(0.5)
        await queue(world, "dos", person=2)
        await trio.sleep(10)

        assert statuses(world) == ["accepted", "pending"]


async def test_every_line_about_a_doubt_tells_its_conversation(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with sending() as world:
        person_id = await queue(world, "uno", is_told=False)
        await claim(world, person_id)
        world.messaging.lookup_failures.append(VendorUnavailableError("503"))
        await trio.sleep(30)

    lines = [line for line in capsys.readouterr().out.splitlines() if "message_id=" in line]
    assert len(lines) == 3
    assert all("conversation_id=" in line for line in lines)


async def test_a_template_in_doubt_is_found_though_the_person_has_answered_it(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        await queue(world, "uno", template=TEMPLATE, is_told=False)
        world.database.inbound.clear()
        await trio.sleep(3)
        await world.writes("hola", who=address_of(1), is_told=False)
        await trio.sleep(60)

        assert world.messaging.bodies == ["template of [HX1]", "uno"]


async def test_the_alert_of_vain_lookups_ends_with_a_doubt_that_a_report_settles(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        world.messaging.lookup_failures.extend([VendorUnavailableError("503")] * 50)
        await queue(world, "uno")
        await trio.sleep(20)
        assert world.alert_keys == ["outbox_lookup"]

        delivered = StatusReport(
            message_id=first(world).id,
            sid=world.messaging.created[0].sid,
            status=DeliveryStatus.DELIVERED,
            error_code=None,
        )
        await MemoryOutbox(world.database).report(delivered, now=world.clock.now())
        await trio.sleep(60)

        assert world.alert_keys == []


async def test_a_text_in_doubt_adopts_no_other_words_though_the_person_has_written(
    autojump_clock: MockClock,
) -> None:
    async with sending(is_running=False) as world:
        person_id = await queue(world, "hola", template=TEMPLATE)
        message = await claim(world, person_id)
        has_written = evolve(message, window_opened_at=world.clock.now() + timedelta(seconds=9))

    assert not message.as_template
    assert match_sent(has_written, [SentMessage(sid="SM1", body="otra cosa", created_at=BEGINNING)]) is None
