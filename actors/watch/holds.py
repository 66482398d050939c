"""The watcher of what is held back in the outbox.

A campaign most of whose openings fail is held: its breaker opens (see `actors.campaigns`). Everything about it stands
in the store, so a restart changes nothing. Answers that wait behind a template for a person to write are held back too.
Whatever is held back is given up once it is too old to be said.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import assert_never

import structlog
import trio
from attrs import frozen

from actors.alerts import Alerts
from actors.campaigns import BreakerMove, BreakerRules, Campaign, next_move
from actors.failures import told
from actors.messages import Purpose
from actors.ports import HoldStore, StoreUnavailableError, WallClock

_log = structlog.get_logger(__name__)

LOOK_EVERY_S = 15.0
LOOK_PAUSE_S = 1.0
"""Openings may fail eighty times a second; the campaign is looked at once for all of them."""
FAILED_LATELY = timedelta(days=1)
"""A campaign whose last failure is older needs no look: whatever fails from now on brings it back."""


@frozen(kw_only=True)
class HoldRules:
    """`give_up_after_s`: what is held back is given up at this age."""

    breaker: BreakerRules
    give_up_after_s: float


class Holds:
    """The permanent actor that holds back and lets go. `opening_failed` may be called from any task."""

    def __init__(
        self,
        *,
        store: HoldStore,
        rules: HoldRules,
        outbox_due: Callable[[int, Purpose], object],
        clock: WallClock,
        alerts: Alerts,
    ) -> None:
        self._store = store
        self._rules = rules
        self._outbox_due = outbox_due
        self._clock = clock
        self._alerts = alerts
        self._failed = trio.Event()
        self._shown: set[str] = set()

    def opening_failed(self) -> None:
        """The opening of some campaign has failed. A hint: the next look finds it as well, only later."""
        self._failed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a database that is down."""
        task_status.started()
        while True:
            self._failed = trio.Event()
            try:
                await self._look()
                self._alerts.settle("holds_store")
            except StoreUnavailableError as error:
                self._alerts.raise_alert("holds_store", f"campaigns cannot be looked at: {error}")
            await trio.sleep(LOOK_PAUSE_S)
            with trio.move_on_after(LOOK_EVERY_S - LOOK_PAUSE_S):
                await self._failed.wait()

    async def release(self, campaign_ids: Collection[str]) -> None:
        """Let the openings of these campaigns go, by the operator's word. Those that are not held stay as they are.

        Raises:
            StoreUnavailableError: nothing was changed.
        """
        for campaign_id in await self._store.release(campaign_ids, now=self._clock.now()):
            _log.info("campaign released by the operator", campaign=campaign_id)
            self._settle(campaign_id)

    async def _look(self) -> None:
        now, breaker = self._clock.now(), self._rules.breaker
        campaigns = await self._store.campaigns(failed_since=now - FAILED_LATELY, openings=breaker.openings)
        for campaign in campaigns:
            await self._move(campaign, now)
        too_old = now - timedelta(seconds=self._rules.give_up_after_s)
        given_up = await self._store.give_up_held(written_before=too_old, now=now)
        if given_up:
            _log.warning("what was held back has grown too old", messages=given_up)

    async def _move(self, campaign: Campaign, now: datetime) -> None:
        breaker = self._rules.breaker
        look_at = now + timedelta(seconds=breaker.pause_s)
        match next_move(campaign, breaker, now):
            case BreakerMove.NONE:
                # After a restart the alert has to be raised again.
                if campaign.held_since is not None and campaign.id not in self._shown:
                    self._show(
                        campaign, code=campaign.code, since=campaign.held_since, look_at=campaign.look_at
                    )
            case BreakerMove.HOLD:
                tally = campaign.probed if campaign.held_since is not None else campaign.results
                code = tally.code if tally.code is not None else campaign.code
                await self._store.hold(campaign.id, code=code, look_at=look_at, now=now)
                self._show(campaign, code=code, since=campaign.held_since or now, look_at=look_at)
            case BreakerMove.PROBE:
                people = await self._store.probe(campaign.id, openings=breaker.probes, look_at=look_at)
                _log.info("campaign probed", campaign=campaign.id, openings=len(people))
                for person_id in people:
                    self._outbox_due(person_id, Purpose.OPENING)
            case BreakerMove.RELEASE:
                await self._store.release([campaign.id], now=now)
                _log.info("campaign released", campaign=campaign.id)
                self._settle(campaign.id)
            case never:
                assert_never(never)

    def _show(
        self, campaign: Campaign, *, code: int | None, since: datetime, look_at: datetime | None
    ) -> None:
        self._shown.add(campaign.id)
        next_look = f"; a few are tried at {look_at:%Y-%m-%d %H:%M} UTC" if look_at is not None else ""
        self._alerts.raise_alert(
            _key(campaign.id),
            f"openings of campaign {campaign.id} are held back since {since:%Y-%m-%d %H:%M} UTC because most of them "
            f"failed, most often with {told(code)}{next_look}; `relevo batch process {campaign.id}` lets all go now",
        )

    def _settle(self, campaign_id: str) -> None:
        self._shown.discard(campaign_id)
        self._alerts.settle(_key(campaign_id))


def _key(campaign_id: str) -> str:
    return f"campaign_{campaign_id}"
