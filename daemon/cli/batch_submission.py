"""`relevo batch submit`, once every row is checked: the submission, and its calls as they go on."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio
from attrs import define, field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.adapters import open_elevenlabs
from daemon.cli.failure import CommandFailedError
from daemon.elevenlabs.batch_calls import BatchCalls, BatchOrder, ListedBatch, SubmissionUnknownError
from daemon.settings import Settings

POLL_FAILURES_MAX: Final = 15
"""In a row; then the calls go on unwatched."""


@define(eq=False)
class Screen:
    """What the operator sees on standard error, so that standard output has nothing but the id. The bar needs
    a terminal.
    """

    _console: Console = field(factory=lambda: Console(stderr=True, highlight=False, emoji=False))
    _bar: Progress = field(init=False)
    _task: TaskID = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    @property
    def has_onlooker(self) -> bool:
        """Neither a script that waits for the id, nor a log."""
        return self._console.is_terminal and sys.stdout.isatty()

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bar:
            yield

    def say(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, soft_wrap=True)

    def stage(self, description: str) -> None:
        """Something begins whose end cannot be foreseen."""
        self._bar.update(self._task, description=description, total=None, completed=0)

    def show_calls(self, batch: ListedBatch) -> None:
        self._bar.update(
            self._task,
            description=f"{batch.summary.status}, {batch.dispatched} dispatched",
            total=batch.calls,
            completed=batch.finished,
        )


async def submit_order(settings: Settings, order: BatchOrder, screen: Screen) -> str:
    """Submit the batch, follow its calls where somebody looks on, and return its id. See `Submission.run`."""
    async with open_elevenlabs(settings) as api:
        calls = BatchCalls(
            api=api,
            on_doubt=lambda reason: screen.say(f"{reason}: looking whether the batch arrived …"),
        )
        # What is to begin at another time is not waited for.
        follows = screen.has_onlooker and order.begins_at is None
        return await Submission(calls=calls, order=order, screen=screen, follows=follows).run()


@define(eq=False, kw_only=True)
class Submission:
    """One batch on its way. `follows`: its calls are watched until they are over."""

    calls: BatchCalls
    order: BatchOrder
    screen: Screen
    follows: bool
    poll_every_s: float = 2.0
    _batch_id: str = field(default="", init=False)
    _following: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    async def run(self) -> str:
        """Ctrl-C ends the following. It does not end the submission, whose outcome nobody would know then; that
        takes as long as its deadlines at most.

        Raises:
            CommandFailedError: saying whether the batch was submitted.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._obey_interrupts, name="interrupts")
            self._batch_id = await self._submit()
            self.screen.say(f"submitted as {self._batch_id}")
            if self.follows:
                with self._following:
                    self.screen.say(await self._follow())
            nursery.cancel_scope.cancel(reason="submitted")
        return self._batch_id

    async def _obey_interrupts(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                if self._batch_id:
                    self.screen.say("the calls go on")
                else:
                    self.screen.say("wait until it is known whether the batch was submitted …")
                self._following.cancel(reason="Ctrl-C")

    async def _submit(self) -> str:
        self.screen.stage(f"submitting {len(self.order.recipients)} recipients")
        try:
            return await self.calls.submit(self.order)
        except SubmissionUnknownError as error:
            raise CommandFailedError(_unknown(error, self.order)) from error
        except (VendorUnavailableError, VendorRefusedError) as error:
            raise CommandFailedError(f"nothing was submitted: {error}") from error

    async def _follow(self) -> str:
        """Show how the calls go on until all are over, or nothing is heard of them any more; says which."""
        failures = 0
        while failures < POLL_FAILURES_MAX:
            try:
                batch = await self._look()
            except VendorUnavailableError:
                failures += 1
            except VendorRefusedError as error:
                return f"the calls go on unwatched: {error}"
            else:
                failures = 0
                if batch is None:
                    return "the batch is no longer among the agent's newest ones"
                self.screen.show_calls(batch)
                if batch.summary.is_over:
                    return f"{batch.summary.status}: {batch.finished} of {batch.calls} calls are over"
            await trio.sleep(self.poll_every_s)
        return "the calls go on unwatched: ElevenLabs does not answer"

    async def _look(self) -> ListedBatch | None:
        listed = await self.calls.newest(self.order.agent_id)
        return next((batch for batch in listed if batch.summary.id == self._batch_id), None)


def _unknown(error: SubmissionUnknownError, order: BatchOrder) -> str:
    if error.candidates:
        found = f"one of {', '.join(error.candidates)} may be it"
    else:
        found = "it is not in ElevenLabs' list so far"
    return (
        f"nobody knows whether the batch was submitted ({error}), and {found}. Submit it again only once you have"
        f" looked, or people may be called twice: for a batch “{order.name}” of {len(order.recipients)} recipients"
        " under Batch Calling in ElevenLabs' dashboard, or with `relevo batch show` while the daemon runs."
    )
