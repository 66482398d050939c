"""The table, and the sentence below it."""

from collections.abc import Sequence

from tests.chaos.audit import Kind
from tests.chaos.stage import Options, Result

COLUMNS = (
    "scenario",
    "kills",
    "in",
    "out",
    "lost",
    "doubled",
    "out of order",
    "status back",
    "unsettled",
    "other",
    "expected",
    "s",
)
HEADER = f"| {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * (len(COLUMNS) - 1)}"


def row(result: Result) -> str:
    if result.skipped is not None:
        return f"| {result.name} | skipped: {result.skipped} |"
    counts, verdict = result.verdict.counts, result.verdict
    figures = [
        result.kills,
        verdict.written,
        verdict.arrived,
        counts[Kind.LOST],
        counts[Kind.DOUBLED],
        counts[Kind.DISORDERED],
        counts[Kind.REGRESSED],
        counts[Kind.UNSETTLED],
        counts[Kind.WRONG] + len(result.misses),
        verdict.expected,
        round(result.seconds),
    ]
    cells = " | ".join(str(figure) for figure in figures)
    return f"| {result.name} | {cells} |"


def summary(results: Sequence[Result], options: Options, *, seconds: float) -> str:
    verdicts = [result.verdict for result in results]
    lost = sum(verdict.counts[Kind.LOST] for verdict in verdicts)
    doubled = sum(verdict.counts[Kind.DOUBLED] for verdict in verdicts)
    bad = sum(not result.is_good for result in results)
    return (
        f"seed {options.seed}: {len(results)} scenarios, {sum(result.kills for result in results)} SIGKILLs, "
        f"{sum(verdict.written for verdict in verdicts)} messages in, "
        f"{sum(verdict.arrived for verdict in verdicts)} out, {lost} lost, {doubled} doubled, "
        f"{bad} scenarios failed, {seconds:.0f} s"
    )
