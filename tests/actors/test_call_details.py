"""The call monitor fetches what there is to know of a call, until it is whole or has taken too long."""

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from actors.calls import CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall
from actors.watch.call_monitor import DETAILS_PAGE, LONGEST_WAIT_S, UNKNOWN_ATTEMPTS_MAX
from daemon.elevenlabs.problems import ApiRefusedError, UnexpectedAnswerError
from tests.actors.watches import DOWN, Watch, batch, details, recipient, watching
from tests.memory.calls import MemoryCalls

A_DAY = timedelta(days=1)


async def test_an_analysis_that_is_still_being_made_is_waited_for(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.source.known["conv_1"] = lambda: (
            details() if trio.current_time() > 60 else details(analysis=None, analysis_pending=True)
        )

    async with watching(setup) as watch:
        await trio.sleep(59)
        assert watch.follow_up() is FollowUpState.AWAITING_DETAILS

        await trio.sleep(LONGEST_WAIT_S + 5)
        assert watch.follow_up() is FollowUpState.DUE
        call = watch.database.calls["conv_1"]
        assert call.details is not None
        assert call.details.analysis is not None


async def test_without_an_analysis_the_opening_goes_after_a_while(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details(analysis=None, analysis_pending=True))

    async with watching(setup) as watch:
        await trio.sleep(590)
        assert watch.due == []

        await trio.sleep(50)
        assert watch.due == [1]


async def test_details_that_cannot_be_had_are_asked_for_with_growing_pauses(
    autojump_clock: MockClock,
) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.source.failures["call"] = DOWN

    async with watching(setup) as watch:
        await trio.sleep(300)
        assert 10 < watch.looks("call conv_1") < 20

        watch.source.failures.clear()
        await trio.sleep(60)
        assert watch.follow_up() is FollowUpState.DUE


async def test_a_call_that_does_not_end_is_given_up_after_a_day(autojump_clock: MockClock) -> None:
    async with watching(lambda watch: watch.knows(details(is_over=False))) as watch:
        await trio.sleep(100)
        watch.database.calls["conv_1"].attempts = 10_000
        await trio.sleep(100)
        assert watch.follow_up() is FollowUpState.AWAITING_DETAILS

        watch.database.calls["conv_1"].seen_at -= A_DAY
        await trio.sleep(100)
        assert watch.follow_up() is FollowUpState.NONE
        assert watch.note() == "still in progress a day after it was seen"


@pytest.mark.expects_error_log
async def test_a_call_that_cannot_be_taken_in_does_not_stop_the_others(autojump_clock: MockClock) -> None:
    def poison() -> CallDetails:
        raise ValueError("a bug of ours")

    def setup(watch: Watch) -> None:
        watch.knows(details("conv_1"), details("conv_2"))
        watch.source.known["conv_1"] = poison

    async with watching(setup) as watch:
        await trio.sleep(30)
        assert watch.follow_up("conv_1") is FollowUpState.AWAITING_DETAILS
        assert watch.follow_up("conv_2") is FollowUpState.DUE
        assert watch.alert_keys == ["call conv_1"]

        await trio.sleep(600)
        assert watch.looks("call conv_1") == UNKNOWN_ATTEMPTS_MAX + 1
        assert watch.note() == "cannot be taken in: ValueError"


async def test_a_refused_question_is_not_asked_for_ever(autojump_clock: MockClock) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.source.failures["call"] = ApiRefusedError("HTTP 422", status=422)

    async with watching(setup) as watch:
        await trio.sleep(600)
        assert watch.looks("call conv_1") == UNKNOWN_ATTEMPTS_MAX + 1
        assert watch.note() == "no details at ElevenLabs: HTTP 422"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_calls_wait_until_the_operator_mends_the_credentials(
    autojump_clock: MockClock, status: int
) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.source.failures["call"] = ApiRefusedError("refused", status=status)

    async with watching(setup) as watch:
        await trio.sleep(10)
        watch.database.calls["conv_1"].seen_at -= A_DAY
        await trio.sleep(900)
        watch.source.failures.clear()
        await trio.sleep(60)

        assert watch.follow_up() is FollowUpState.DUE


async def test_a_call_for_which_alone_there_is_no_usable_answer_is_given_up(
    autojump_clock: MockClock,
) -> None:
    def setup(watch: Watch) -> None:
        watch.knows(details())
        watch.source.failures["call"] = UnexpectedAnswerError("status")

    async with watching(setup) as watch:
        await trio.sleep(900)
        assert watch.follow_up() is FollowUpState.AWAITING_DETAILS

        watch.database.calls["conv_1"].seen_at -= A_DAY
        await trio.sleep(900)
        assert watch.follow_up() is FollowUpState.NONE


async def test_the_number_of_the_batch_counts_where_the_call_has_none_to_write_to(
    autojump_clock: MockClock,
) -> None:
    def setup(watch: Watch) -> None:
        watch.has_batch(batch(recipient()))
        anonymous = details(phone_number="anonymous")
        watch.source.known["conv_1"] = lambda: anonymous

    async with watching(setup) as watch:
        await trio.sleep(5)
        assert watch.follow_up() is FollowUpState.DUE
        assert watch.database.calls["conv_1"].phone_number == "+525512345678"


async def test_a_call_that_elevenlabs_does_not_know_is_given_up_in_the_end(autojump_clock: MockClock) -> None:
    async with watching(lambda watch: watch.has_batch(batch(recipient()))) as watch:
        await trio.sleep(30)
        assert watch.follow_up() is FollowUpState.AWAITING_DETAILS

        await trio.sleep(600)
        assert watch.follow_up() is FollowUpState.NONE
        assert watch.looks("call conv_1") == UNKNOWN_ATTEMPTS_MAX + 1


async def test_a_batch_knows_better_than_the_call_itself_that_it_was_a_voicemail(
    autojump_clock: MockClock,
) -> None:
    def setup(watch: Watch) -> None:
        watch.has_batch(batch(recipient("conv_1", CallOutcome.VOICEMAIL)))
        watch.source.known["conv_1"] = lambda: details(phone_number=None)

    async with watching(setup) as watch:
        await trio.sleep(5)

        call = watch.database.calls["conv_1"]
        assert call.outcome is CallOutcome.VOICEMAIL
        assert call.phone_number == "+525512345678"
        assert call.follow_up is FollowUpState.DUE


async def test_many_calls_are_fetched_a_few_at_a_time(autojump_clock: MockClock) -> None:
    count = DETAILS_PAGE + 20

    def setup(watch: Watch) -> None:
        watch.knows(*(details(f"conv_{number}") for number in range(count)))
        watch.source.look_s = 0.1

    async with watching(setup) as watch:
        await trio.sleep(10)

        assert watch.source.call_looks_at_once == 4
        assert {call.follow_up for call in watch.database.calls.values()} == {FollowUpState.DUE}
        assert len(watch.database.calls) == count


async def test_a_call_that_is_told_of_is_fetched_at_once(autojump_clock: MockClock) -> None:
    async with watching(lambda _watch: None) as watch:
        await trio.sleep(0.5)
        watch.source.known["conv_1"] = details
        seen = SeenCall(id="conv_1", sighting=CallSighting.WEBHOOK)
        await MemoryCalls(watch.database).see([seen], now=watch.clock.now())
        watch.monitor.details_due()
        await trio.sleep(0.1)

        assert watch.follow_up() is FollowUpState.DUE


async def test_a_call_that_nobody_told_of_is_found_by_the_sweep(autojump_clock: MockClock) -> None:
    async with watching(lambda _watch: None) as watch:
        await trio.sleep(0.5)
        watch.source.known["conv_1"] = details
        seen = SeenCall(id="conv_1", sighting=CallSighting.WEBHOOK)
        await MemoryCalls(watch.database).see([seen], now=watch.clock.now())
        await trio.sleep(3)

        assert watch.follow_up() is FollowUpState.DUE
