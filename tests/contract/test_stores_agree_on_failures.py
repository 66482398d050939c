"""The random lives of `test_stores_agree`, in which messages fail after acceptance and campaigns are held back."""

from collections.abc import Awaitable
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors.messages import DeliveryStatus, Reported, StatusReport
from daemon.store.pool import Pool
from tests.contract.arbitrary import ends, which
from tests.contract.stores import Stores
from tests.contract.test_stores_agree import StoresAgree, live_random_lives
from tests.contract.twins import Side

DAY = timedelta(days=1)
CAMPAIGNS = ["1", "2", "agent_voice"]

statuses = st.sampled_from([None, *DeliveryStatus])
codes = st.sampled_from([None, 63003, 63016, 63018, 63024, 30036])
campaigns = st.sampled_from(CAMPAIGNS)


class StoresAgreeOnFailures(StoresAgree):
    @precondition(lambda self: self.outgoing)
    @rule(chosen=which, status=statuses, code=codes, is_old=st.booleans())
    def reported_with_a_limit(
        self, chosen: int, status: DeliveryStatus | None, code: int | None, *, is_old: bool
    ) -> None:
        message_id = self.message(chosen).id
        now = self.now + DAY if is_old else self.now

        def ask(side: Side) -> Awaitable[Reported | None]:
            report = StatusReport(
                message_id=side.message(message_id),
                sid=f"SM-out-{message_id}",
                status=status,
                error_code=code,
            )
            return side.stores.outbox.report(report, now=now, give_up_after=DAY)

        self.ask(ask)

    @precondition(lambda self: self.outgoing)
    @rule(chosen=which, code=st.sampled_from([63003, 63016, 63018]))
    def refused_in_this_form(self, chosen: int, code: int) -> None:
        message_id = self.message(chosen).id
        self.ask(
            lambda side: side.stores.outbox.refused(
                side.message(message_id), code=code, detail="not so", now=self.now
            )
        )

    @precondition(lambda self: self.people)
    @rule(chosen=which, status=statuses, code=codes, later=st.sampled_from([timedelta(), DAY]))
    def send_and_report(
        self, chosen: int, status: DeliveryStatus | None, code: int | None, later: timedelta
    ) -> None:
        """Claim, acceptance and report in one, so that lives get somewhere."""
        before = len(self.outgoing)
        self.send(chosen, later, "accepted")
        if len(self.outgoing) > before:
            self.reported_with_a_limit(before, status, code, is_old=False)

    @precondition(lambda self: self.people)
    @rule(chosen=which, end=ends)
    def send_a_day_later(self, chosen: int, end: str) -> None:
        """The window is closed then."""
        self.send(chosen, DAY, end)

    # --- Campaigns ---

    @rule(campaign=campaigns, openings=st.integers(1, 3))
    def hold(self, campaign: str, openings: int) -> None:
        self.look(openings)
        if self.is_known(campaign):
            later = self.now + DAY
            self.ask(lambda side: side.stores.holds.hold(campaign, code=63018, look_at=later, now=self.now))

    @rule(campaign=campaigns, openings=st.integers(1, 3))
    def probe(self, campaign: str, openings: int) -> None:
        if self.is_known(campaign):
            later = self.now + DAY
            self.ask(
                lambda side: side.stores.holds.probe(campaign, openings=openings, look_at=later), "person"
            )

    @rule(released=st.sets(campaigns))
    def release_campaigns(self, released: set[str]) -> None:
        self.ask(lambda side: side.stores.holds.release(released, now=self.now))

    @rule(back=st.sampled_from([timedelta(), timedelta(minutes=1)]))
    def give_up_held(self, back: timedelta) -> None:
        before = self.now - back
        self.ask(lambda side: side.stores.holds.give_up_held(written_before=before, now=self.now))

    def look(self, openings: int) -> list[str]:
        long_ago = self.now - 10 * DAY
        found = self.ask(lambda side: side.stores.holds.campaigns(failed_since=long_ago, openings=openings))
        return [campaign.id for campaign in found]

    def is_known(self, campaign: str) -> bool:
        return campaign in self.look(20)


async def test_they_agree_when_messages_fail(store_pool: Pool, postgres_stores: Stores) -> None:
    await live_random_lives(StoresAgreeOnFailures, store_pool, postgres_stores, steps=40)
