"""The breaker of a campaign: when its openings are held back, and when they go again. Pure.

A campaign is a batch of calls; calls without one make a campaign by their voice agent. While most of its openings fail,
sending the rest helps nobody and costs the sender its standing with WhatsApp. So they are held, and after a pause a few
go as probes: as they fare, the rest goes or waits again.
"""

from datetime import datetime
from enum import Enum, auto

from attrs import frozen


@frozen(kw_only=True)
class Tally:
    """How openings fared, one result for each call, those without a result yet left out.

    A result is what the newest attempt with one came to: sent, delivered or read, or a failure. What went again at
    once in another form (as a template, to the other spelling of the number) is no result.

    Attributes:
        code: the most frequent code among the failures, the lowest of several; None without any.
    """

    known: int
    failed: int
    code: int | None


@frozen(kw_only=True)
class Campaign:
    """A campaign as the breaker sees it.

    Attributes:
        id: the batch's, else the voice agent's.
        held_since: its openings are held back since then; None while they are not.
        look_at: while they are: when the next probes may go.
        code: the most frequent code of the failures that led to it.
        probes: openings that were let through to try; 0 while none are under way.
        results: of the newest openings since it was last released.
        probed: of the probes under way.
        waiting: openings that are held back at this moment.
    """

    id: str
    held_since: datetime | None
    look_at: datetime | None
    code: int | None
    probes: int
    results: Tally
    probed: Tally
    waiting: int


@frozen(kw_only=True)
class BreakerRules:
    """See `breaker_…` under `[outbox]` in config.toml."""

    openings: int
    openings_min: int
    failed_share: float
    pause_s: float
    probes: int


class BreakerMove(Enum):
    """What is to happen to a campaign now."""

    NONE = auto()
    HOLD = auto()
    """Hold the openings back, or go on holding them after probes that failed."""
    PROBE = auto()
    RELEASE = auto()


def next_move(campaign: Campaign, rules: BreakerRules, now: datetime) -> BreakerMove:
    if campaign.held_since is None:
        return BreakerMove.HOLD if _fails(campaign.results, rules) else BreakerMove.NONE
    if campaign.probes:
        if campaign.probed.failed >= rules.failed_share * campaign.probes:
            return BreakerMove.HOLD
        if campaign.probed.known >= campaign.probes:
            return BreakerMove.RELEASE
    if campaign.look_at is not None and now < campaign.look_at:
        return BreakerMove.NONE
    # With nothing left to hold back the failures so far are forgotten: what comes later is judged anew.
    return BreakerMove.PROBE if campaign.waiting else BreakerMove.RELEASE


def _fails(results: Tally, rules: BreakerRules) -> bool:
    return results.known >= rules.openings_min and results.failed >= rules.failed_share * results.known
