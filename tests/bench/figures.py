"""The figures: each takes the bench's database and gives its lines of the report."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import trio

from tests.bench.database import Database
from tests.bench.live_calls import live_calls
from tests.bench.load import SpoiltError
from tests.bench.processes import cpu_s, memory_of
from tests.bench.report import Figure, percentile
from tests.bench.stage import Stage, Subject, open_stage
from tests.bench.window import Window

Measure: TypeAlias = Callable[[Database], Awaitable[Sequence[Figure]]]

PEOPLE = 400
TURNS_PER_S = 40.0
GREETED_AT_ONCE = 100
STATUSES_AT_ONCE = 20
HOUR_TURNS = 36_000
AT_ONCE_AT_FULL_SPEED = 100

# What holds people back who write too fast, and sessions that are opened too fast, would be measured otherwise.
_NO_WAIT = (
    "[elevenlabs]\nconnects_per_second = 1000\n[conversation]\ninbound_per_minute = 6000\ncoalesce_s = 0\n"
)
_FULL_SPEED = _NO_WAIT + "[whatsapp]\nmessages_per_second = 1000\nperson_every_s = 0\n"
_MANY_SOCKETS = _FULL_SPEED.replace("coalesce_s = 0", "coalesce_s = 0\nmax_open_sockets = 100000")


async def turns(database: Database) -> Sequence[Figure]:
    """CPU for a turn under a steady load with the settings as they ship, and how late the event loop is."""
    floor = await _steady_load(database, Subject.FLOOR)
    daemon = await _steady_load(database, Subject.DAEMON)
    daemon_ms, floor_ms = [w.program_ms for w in daemon], [w.program_ms for w in floor]
    ratios = [ours / theirs for ours, theirs in zip(sorted(daemon_ms), sorted(floor_ms), strict=True)]
    return [
        Figure("CPU of the daemon a turn", "ms", daemon_ms, aim="≤ 4.0"),
        Figure("CPU of the floor a turn", "ms", floor_ms),
        Figure("daemon / floor", "", ratios, aim="≤ 1.3"),
        Figure("CPU of PostgreSQL a turn, daemon", "ms", [w.database_ms for w in daemon]),
        Figure("CPU of PostgreSQL a turn, floor", "ms", [w.database_ms for w in floor]),
        Figure("CPU of the load itself a turn", "ms", [w.bench_ms for w in daemon]),
        Figure("event-loop delay p99, daemon", "ms", [w.delay_p99_ms for w in daemon], aim="≤ 20"),
    ]


async def _steady_load(
    database: Database,
    subject: Subject,
    *,
    known: int = PEOPLE,
    messages_each: int = 10,
    window_s: float = 20.0,
) -> Sequence[Window]:
    async with open_stage(database, subject, known=known, messages_each=messages_each) as stage:
        await stage.program.start()
        crowd = stage.crowd(min(known, PEOPLE))
        await crowd.greet(at_once=GREETED_AT_ONCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(crowd.write_at_random, per_second=TURNS_PER_S))
            windows = await stage.watch(3, window_s=window_s)
            crowd.stop()
    return windows


async def latency(database: Database) -> Sequence[Figure]:
    """What the program adds to the agent's own time, from the webhook to the request to send the answer."""
    found = []
    for title, subject, settings in (
        ("daemon", Subject.DAEMON, _NO_WAIT),
        ("daemon without WhatsApp's rate limit", Subject.DAEMON, _FULL_SPEED),
        ("floor", Subject.FLOOR, ""),
    ):
        medians, worst = await _added_ms(database, subject, settings)
        aim = "< 20" if subject is Subject.DAEMON else ""
        found += [
            Figure(f"added latency p50, {title}", "ms", medians),
            Figure(f"added latency p99, {title}", "ms", worst, aim=aim),
        ]
    return found


async def _added_ms(database: Database, subject: Subject, settings: str) -> tuple[list[float], list[float]]:
    medians, worst = [], []
    async with open_stage(database, subject, known=PEOPLE, settings=settings) as stage:
        await stage.program.start()
        await stage.crowd(PEOPLE).greet(at_once=GREETED_AT_ONCE)
        for _ in range(3):
            crowd = stage.crowd(PEOPLE)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(crowd.write_at_random, per_second=TURNS_PER_S))
                await trio.sleep(8.0)
                crowd.stop()
            added_ms = [1000 * turn.added_s for turn in crowd.turns]
            medians.append(percentile(added_ms, 0.5))
            worst.append(percentile(added_ms, 0.99))
    return medians, worst


async def memory(database: Database) -> Sequence[Figure]:
    """What 1,500 open conversations take; the daemon's first hundred warm it up."""
    found = []
    for subject in (Subject.DAEMON, Subject.FLOOR):
        aim = "≤ 48" if subject is Subject.DAEMON else ""
        rss, pss = await _memory_each_kib(database, subject, open_conversations=1500, before=100)
        found += [
            Figure(f"RSS an open conversation, {subject}", "KiB", [rss], aim=aim),
            Figure(f"PSS an open conversation, {subject}", "KiB", [pss], aim=aim),
        ]
    return found


async def _memory_each_kib(
    database: Database, subject: Subject, *, open_conversations: int, before: int
) -> tuple[float, float]:
    async with open_stage(
        database, subject, known=open_conversations + before, settings=_MANY_SOCKETS
    ) as stage:
        await stage.program.start()
        everybody = stage.crowd(open_conversations + before)
        first, rest = stage.crowd(before), everybody
        for phone in first.idle:
            rest.idle.remove(phone)
        await first.greet(at_once=GREETED_AT_ONCE)
        smaller = memory_of(stage.program.pid)
        await rest.greet(at_once=GREETED_AT_ONCE)
        larger = memory_of(stage.program.pid)
        if stage.vendors.open_sockets != open_conversations + before:
            raise SpoiltError(f"{stage.vendors.open_sockets} sockets are open")
    return (
        (larger.rss_kib - smaller.rss_kib) / open_conversations,
        (larger.pss_kib - smaller.pss_kib) / open_conversations,
    )


async def start(database: Database) -> Sequence[Figure]:
    """From the start of the process to ready, and to the last answer when it was killed with people waiting."""
    ready_s, answered_s = [], []
    async with open_stage(database, Subject.DAEMON, known=10_000, settings=_NO_WAIT) as stage:
        for _ in range(3):
            ready_s.append(await stage.program.start())
            answered_s.append(await _recover(stage, waiting=100))
            stage.program.kill()
            await stage.vendors.hang_up()
    return [
        Figure("start to ready, 10,000 known conversations", "s", ready_s, aim="< 3"),
        Figure("start to the last of 100 answers after kill -9", "s", answered_s, aim="< 3"),
    ]


async def _recover(stage: Stage, *, waiting: int) -> float:
    """Seconds from the second start to the last answer."""
    vendors, crowd = stage.vendors, stage.crowd(waiting)
    vendors.answers = False
    written = [await vendors.write(phone) for phone in crowd.idle]
    stage.program.kill()
    await vendors.hang_up()
    vendors.answers = True
    began_at = trio.current_time()
    await stage.program.start()
    with trio.fail_after(60):
        for turn in written:
            await turn.created.wait()
    took_s = max(turn.created_at for turn in written) - began_at
    for turn in written:
        await turn.done.wait()
    return took_s


async def sustained(database: Database) -> Sequence[Figure]:
    """As many turns as go through with everything on this machine."""
    async with open_stage(database, Subject.DAEMON, known=PEOPLE, settings=_FULL_SPEED) as stage:
        await stage.program.start()
        crowd = stage.crowd(PEOPLE)
        await crowd.greet(at_once=GREETED_AT_ONCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(crowd.write_in_turn, at_once=AT_ONCE_AT_FULL_SPEED))
            windows = await stage.watch(3, window_s=8.0)
            crowd.stop()
    share = [100 * window.program_s / window.seconds for window in windows]
    return [
        Figure("turns a second, everything on this machine", "1/s", [w.turns / w.seconds for w in windows]),
        Figure(
            "turns for a second of the daemon's CPU",
            "1/s",
            [w.turns / w.program_s for w in windows],
            aim="≥ 150",
        ),
        Figure("the daemon's share of one core meanwhile", "%", share),
    ]


async def statuses(database: Database) -> Sequence[Figure]:
    """A status callback beside a message, which is received, told to the agent, answered and sent."""
    message_ms, status_ms = [], []
    async with open_stage(database, Subject.DAEMON, known=PEOPLE, settings=_FULL_SPEED) as stage:
        await stage.program.start()
        await stage.crowd(PEOPLE).greet(at_once=GREETED_AT_ONCE)
        stage.vendors.withholds_statuses = True
        for _ in range(3):
            before_s = cpu_s(stage.program.pid)
            await stage.crowd(PEOPLE).greet(at_once=STATUSES_AT_ONCE)
            between_s = cpu_s(stage.program.pid)
            told = await stage.vendors.report_withheld(at_once=STATUSES_AT_ONCE)
            message_ms.append(1000 * (between_s - before_s) / PEOPLE)
            status_ms.append(1000 * (cpu_s(stage.program.pid) - between_s) / told)
    return [
        Figure("CPU of a message and its answer, without statuses", "ms", message_ms),
        Figure("CPU of a status callback", "ms", status_ms, aim="a fraction of a message"),
    ]


async def hour(database: Database) -> Sequence[Figure]:
    """What an hour's worth of turns, ten a second, leaves behind in memory; as fast as they go."""
    found = []
    async with open_stage(database, Subject.DAEMON, known=PEOPLE, settings=_FULL_SPEED) as stage:
        await stage.program.start()
        crowd = stage.crowd(PEOPLE)
        await crowd.greet(at_once=GREETED_AT_ONCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(crowd.write_in_turn, at_once=AT_ONCE_AT_FULL_SPEED))
            for turns_done in range(HOUR_TURNS // 4, HOUR_TURNS + 1, HOUR_TURNS // 4):
                await stage.vendors.until_finished(turns_done)
                rss_mib = memory_of(stage.program.pid).rss_kib / 1024
                found.append(Figure(f"RSS after {turns_done:,} turns", "MiB", [rss_mib], aim="flat"))
            crowd.stop()
    return found


async def growth(database: Database) -> Sequence[Figure]:
    """The price of a turn as the database fills."""
    return [
        *await _price_of_a_turn(database, known=100, messages_each=10),
        *await _price_of_a_turn(database, known=10_000, messages_each=10),
    ]


async def million(database: Database) -> Sequence[Figure]:
    """The same with a million messages, which take longer to make than all the rest takes to measure."""
    return await _price_of_a_turn(database, known=10_000, messages_each=100)


async def _price_of_a_turn(database: Database, *, known: int, messages_each: int) -> Sequence[Figure]:
    windows = await _steady_load(
        database, Subject.DAEMON, known=known, messages_each=messages_each, window_s=5.0
    )
    filling = f"{known:,} conversations, {known * messages_each:,} messages"
    return [
        Figure(f"CPU of the daemon a turn, {filling}", "ms", [w.program_ms for w in windows], aim="flat"),
        Figure(f"CPU of PostgreSQL a turn, {filling}", "ms", [w.database_ms for w in windows], aim="flat"),
    ]


FIGURES: Mapping[str, Measure] = {
    "turns": turns,
    "latency": latency,
    "memory": memory,
    "start": start,
    "sustained": sustained,
    "statuses": statuses,
    "hour": hour,
    "growth": growth,
    "calls": live_calls,
    "million": million,
}
BY_DEFAULT = [name for name in FIGURES if name != "million"]
