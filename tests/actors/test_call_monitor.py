"""The call monitor finds finished calls, each once, from wherever."""

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from actors.calls import FollowUpState
from actors.watch.call_monitor import FULL_LOOK_EVERY_S
from tests.actors.watches import DOWN, REFUSED, Watch, batch, details, recipient, watching
from tests.memory.clock import BEGINNING


async def test_a_call_in_the_list_is_found_and_its_follow_up_due(autojump_clock: MockClock) -> None:
    async with watching(lambda watch: watch.knows(details())) as watch:
        await trio.sleep(5)

        assert watch.follow_up() is FollowUpState.DUE
        assert watch.due == [1]
        assert watch.monitor.state.last_poll_at is not None
        assert watch.monitor.state.last_error is None


async def test_a_call_found_everywhere_is_one_call(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.has_batch(batch(recipient()))

    async with watching(setup) as watch:
        await trio.sleep(100)
        await watch.monitor.process_batch("btcal_1")
        await trio.sleep(100)

        assert list(watch.database.calls) == ["conv_1"]
        assert watch.database.calls["conv_1"].batch_id == "btcal_1"
        assert watch.due == [1]
        assert watch.looks("call conv_1") == 1


async def test_recipients_that_are_not_at_their_end_are_no_calls_yet(autojump_clock: MockClock) -> None:
    recipients = recipient("conv_1"), recipient("conv_2", None), recipient(None, None)
    async with watching(lambda watch: watch.has_batch(batch(*recipients, is_over=False))) as watch:
        await trio.sleep(5)

        assert list(watch.database.calls) == ["conv_1"]
        assert watch.database.settled == {}


async def test_a_settled_batch_is_not_read_again_unless_it_changes(autojump_clock: MockClock) -> None:
    async with watching(lambda watch: watch.has_batch(batch(recipient()))) as watch:
        await trio.sleep(100)
        assert watch.looks("batch btcal_1") == 1

        watch.has_batch(
            batch(recipient(), recipient("conv_2"), updated_at=BEGINNING + timedelta(seconds=100))
        )
        await trio.sleep(100)
        assert watch.looks("batch btcal_1") == 2
        assert "conv_2" in watch.database.calls


async def test_a_batch_under_way_is_read_at_every_poll(autojump_clock: MockClock) -> None:
    async with watching(lambda watch: watch.has_batch(batch(recipient(), is_over=False))) as watch:
        await trio.sleep(50)

        assert watch.looks("batch btcal_1") == 4


async def test_a_batch_from_before_the_lookback_is_left_alone(autojump_clock: MockClock) -> None:
    old = batch(recipient(), updated_at=BEGINNING - timedelta(hours=25))
    async with watching(lambda watch: watch.has_batch(old)) as watch:
        await trio.sleep(50)

        assert watch.database.calls == {}


async def test_the_operator_may_have_any_batch_processed(autojump_clock: MockClock) -> None:
    old = batch(recipient(), updated_at=BEGINNING - timedelta(hours=25))
    old_call = details(started_at=BEGINNING - timedelta(hours=26))

    def setup(watch: Watch) -> None:
        watch.has_batch(old)
        watch.source.known["conv_1"] = lambda: old_call

    async with watching(setup) as watch:
        await trio.sleep(1)
        assert await watch.monitor.process_batch("btcal_1") == old
        assert await watch.monitor.process_batch("btcal_1") == old
        await trio.sleep(5)

        assert watch.follow_up() is FollowUpState.DUE
        assert watch.due == [1]


async def test_the_operator_may_have_a_batch_processed_that_polling_found_too_late(
    autojump_clock: MockClock,
) -> None:
    def setup(watch: Watch) -> None:
        watch.has_batch(batch(recipient()))
        late = details(started_at=BEGINNING - timedelta(hours=30))
        watch.source.known["conv_1"] = lambda: late

    async with watching(setup) as watch:
        await trio.sleep(5)
        assert watch.follow_up() is FollowUpState.NONE

        await watch.monitor.process_batch("btcal_1")
        await trio.sleep(5)
        assert watch.follow_up() is FollowUpState.DUE


async def test_an_unknown_batch_is_said_to_be_one(autojump_clock: MockClock) -> None:
    async with watching(lambda _watch: None) as watch:
        assert await watch.monitor.process_batch("btcal_9") is None


async def test_calls_from_before_the_lookback_get_no_message(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details("conv_1", started_at=BEGINNING - timedelta(hours=23)))
        watch.knows(details("conv_2", started_at=BEGINNING - timedelta(hours=25)))

    async with watching(setup) as watch:
        await trio.sleep(10)

        assert list(watch.database.calls) == ["conv_1"]


async def test_the_whole_lookback_is_looked_through_now_and_then(autojump_clock: MockClock) -> None:
    async with watching(lambda _watch: None) as watch:
        await trio.sleep(60)
        watch.knows(details(started_at=BEGINNING - timedelta(hours=5)))
        await trio.sleep(600)
        assert watch.database.calls == {}

        await trio.sleep(FULL_LOOK_EVERY_S)
        assert "conv_1" in watch.database.calls


@pytest.mark.parametrize("kind", ["batches", "finished_calls"])
@pytest.mark.parametrize(
    ("failure", "alerts"), [(DOWN, ["monitor"]), (REFUSED, ["elevenlabs_refused", "monitor"])]
)
async def test_a_failed_poll_is_an_alert_until_one_goes_through(
    autojump_clock: MockClock, kind: str, failure: Exception, alerts: list[str]
) -> None:
    def setup(watch: Watch) -> None:
        watch.source.failures[kind] = failure

    async with watching(setup) as watch:
        await trio.sleep(20)
        assert sorted(watch.alert_keys) == alerts
        assert watch.monitor.state.last_error == str(failure)
        assert watch.monitor.state.last_poll_at is None

        watch.source.failures.clear()
        await trio.sleep(20)
        assert watch.alert_keys == []
        assert watch.monitor.state.last_error is None


async def test_batches_that_cannot_be_read_do_not_hide_the_list_of_calls(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.source.failures["batches"] = DOWN
        watch.knows(details())

    async with watching(setup) as watch:
        await trio.sleep(5)

        assert watch.follow_up() is FollowUpState.DUE


async def test_what_was_listed_before_a_failure_counts(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details("conv_1"), details("conv_2"), details("conv_3"))
        watch.source.failures["finished_calls"] = DOWN
        watch.source.fails_after = 2

    async with watching(setup) as watch:
        await trio.sleep(5)

        assert list(watch.database.calls) == ["conv_1", "conv_2"]


async def test_a_database_that_is_down_is_waited_out(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.has_batch(batch(recipient("conv_2")))
        watch.database.unavailable = True

    async with watching(setup) as watch:
        await trio.sleep(60)
        assert watch.alert_keys == ["monitor"]

        watch.database.unavailable = False
        await trio.sleep(20)
        assert sorted(watch.database.calls) == ["conv_1", "conv_2"]
        assert watch.alert_keys == []
        assert watch.follow_up() is FollowUpState.DUE
