"""What an operator is told of a submission, and of its calls as they go on."""

import io
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field
from rich.console import Console

from daemon.cli.batch_submission import Screen, Submission
from daemon.cli.expected import failure_of
from daemon.cli.failure import CommandFailedError
from daemon.elevenlabs.batch_calls import BatchCalls
from daemon.lab.elevenlabs.script import CallScript, Outcome
from tests.contract.lab_elevenlabs import ServedLab, served_lab
from tests.contract.test_batch_calls import (
    Send,
    answer_cut_off,
    calls_of,
    nothing,
    order_for,
)

Then = Callable[[ServedLab], Awaitable[None]]


@define
class Paper:
    """A screen that is read afterwards."""

    text: io.StringIO = field(factory=io.StringIO)

    def screen(self) -> Screen:
        return Screen(Console(file=self.text, width=200))

    @property
    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()


async def followed(served: ServedLab, then: Then) -> list[str]:
    """Submit and follow, where `then` happens right after the submission; what the screen says."""
    paper = Paper()

    async def submitted(request: httpx.Request, send: Send) -> httpx.Response:
        response = await send(request)
        await then(served)
        return response

    async with calls_of(served, submitted) as calls:
        submission = Submission(
            calls=calls, order=order_for(served), screen=paper.screen(), follows=True, poll_every_s=0.01
        )
        batch_id = await submission.run()
    assert paper.lines[0] == f"submitted as {batch_id}"
    return paper.lines[1:]


async def go_on(_served: ServedLab) -> None:
    await trio.lowlevel.checkpoint()


async def test_calls_are_followed_until_they_are_over() -> None:
    scripts = iter([CallScript(), CallScript(outcome=Outcome.NO_ANSWER)])

    async with served_lab(write_script=lambda _: next(scripts)) as served:
        assert await followed(served, go_on) == ["completed: 2 of 2 calls are over"]
        (batch,) = served.lab.batches.all.values()
        assert batch.finished == 2


async def test_they_are_followed_through_moments_without_answer() -> None:
    async def stumble(served: ServedLab) -> None:
        await trio.lowlevel.checkpoint()
        served.fault("rest_500", times=14)

    async with served_lab() as served:
        assert await followed(served, stumble) == ["completed: 2 of 2 calls are over"]


async def test_they_go_on_unwatched_when_nothing_is_heard_any_more() -> None:
    async def fall_silent(served: ServedLab) -> None:
        await trio.lowlevel.checkpoint()
        served.fault("rest_500", times=15)

    async with served_lab() as served:
        assert await followed(served, fall_silent) == [
            "the calls go on unwatched: ElevenLabs does not answer"
        ]


async def test_a_batch_that_was_deleted_is_not_followed() -> None:
    async def delete(served: ServedLab) -> None:
        (batch_id,) = served.lab.batches.all
        async with served.client() as client:
            await client.delete(f"/v1/convai/batch-calling/{batch_id}")

    async with served_lab(write_script=lambda _: CallScript(hold=True)) as served:
        assert await followed(served, delete) == ["the batch is no longer among the agent's newest ones"]


async def test_without_onlooker_the_id_is_all() -> None:
    paper = Paper()
    async with (
        served_lab(write_script=lambda _: CallScript(hold=True)) as served,
        calls_of(served, nothing) as calls,
    ):
        submission = Submission(calls=calls, order=order_for(served), screen=paper.screen(), follows=False)
        batch_id = await submission.run()
        assert list(served.lab.batches.all) == [batch_id]
    assert paper.lines == [f"submitted as {batch_id}"]


# --- Failures ---------------------------------------------------------------------------------------------


async def failure_at(served: ServedLab, calls: BatchCalls, **changes: Any) -> str:
    submission = Submission(
        calls=calls, order=order_for(served, **changes), screen=Paper().screen(), follows=True
    )
    with pytest.raises(BaseExceptionGroup) as caught:
        await submission.run()
    failure = failure_of(caught.value)
    assert isinstance(failure, CommandFailedError)
    assert failure.exit_code == 1
    return failure.sentence


async def test_a_refusal_says_that_nothing_was_submitted() -> None:
    async with served_lab() as served, calls_of(served) as calls:
        sentence = await failure_at(served, calls, agent_id="agent_none")

    assert sentence.startswith("nothing was submitted: HTTP 404 agent_not_found: ")


async def test_an_unknown_outcome_says_so_and_how_to_look() -> None:
    async with served_lab() as served, calls_of(served) as calls:
        served.fault("rest_500", path="submit")
        sentence = await failure_at(served, calls)

    assert sentence.startswith("nobody knows whether the batch was submitted (HTTP 500), and it is not in")
    assert "“octubre” of 2 recipients" in sentence
    assert "relevo batch show" in sentence


async def test_several_candidates_are_named() -> None:
    async with served_lab() as served:

        async def mishap(request: httpx.Request, send: Send) -> httpx.Response:
            await served.submit(None, None)
            return await answer_cut_off(request, send)

        async with calls_of(served, mishap) as calls:
            sentence = await failure_at(served, calls)
        assert all(batch_id in sentence for batch_id in served.lab.batches.all)
        assert "may be it" in sentence
