"""A task that runs beside a block, for what has no nursery of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

Run = Callable[..., Awaitable[None]]


@asynccontextmanager
async def running_beside(run: Run, *, name: str) -> AsyncIterator[None]:
    """`run` as long as the block lasts, which begins once it has called `task_status.started()`.

    The nursery is nobody's business but ours: an exception that is alone, be it the block's or the task's, leaves as it
    was raised.
    """
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(run, name=name)
            yield
            nursery.cancel_scope.cancel(reason="the block is over")
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from group.exceptions[0].__cause__
        raise
