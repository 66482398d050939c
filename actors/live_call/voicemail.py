"""The voicemail: fetches what callers have recorded, keeps it, and has the advisor told on WhatsApp.

A recording counts as kept once its sound and the notice of it are stored, in one transaction. Until then it is tried
again, with growing pauses, for a day. What is kept is deleted at Twilio, which is tried until it is done.

Twilio reports a recording once. So some time after a call that ended here Twilio is asked for what was recorded, and what
nobody had told of is told now: the daemon, or its database, may have been away in that moment.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
import trio
from attrs import frozen

from actors.alerts import Alerts
from actors.conversation.identity import identities_of
from actors.live_call.events import Recorded
from actors.live_call.ports import (
    AwaitedRecording,
    KeptRecording,
    Notice,
    RecordingStore,
    UndeletedRecording,
    VoicemailCall,
)
from actors.live_call.telephony import NoRecording, Telephony
from actors.live_call.transfer_desk import Advisor, Advisors
from actors.live_call.wording import CallFacts, Words, last_digits
from actors.messages import Purpose, Template
from actors.ports import StoreUnavailableError, VendorRefusedError, VendorUnavailableError, WallClock
from actors.runtime.backoff import doubling_s

_log = structlog.get_logger(__name__)

BATCH = 20
LOOK_EVERY_S = 30.0
RETRY_FIRST_S = 2.0
RETRY_MAX_S = 600.0
GIVE_UP_AFTER = timedelta(days=1)
SEEK_AGAIN = timedelta(minutes=1)
MADE_WITHIN = timedelta(minutes=10)
"""So long a recording without a length counts as one that Twilio is still making."""

_STORE_ALERT = "recordings_store"
_FETCH_ALERT = "recordings_unfetched"
_DELETE_ALERT = "recordings_undeleted"
_SEEK_ALERT = "recordings_unsought"


@frozen(kw_only=True)
class VoicemailRules:
    """What the voicemail keeps to.

    Attributes:
        link_hours: for which a recording's link works.
        template_sid: for WhatsApp to an advisor outside the window; empty for none.
        text_agent_id: who answers an advisor who writes back.
        max_bytes: a larger recording stays at Twilio.
        keeps_at_twilio: what was fetched is not deleted there; switched off, what was left there goes, too.
    """

    link_hours: int
    template_sid: str
    text_agent_id: str
    max_bytes: int
    keeps_at_twilio: bool


class Voicemail:
    """A permanent child of the supervisor; `due` wakes it.

    `report` tells a live call of a recording, which has it awaited here in a moment.
    """

    def __init__(
        self,
        *,
        store: RecordingStore,
        telephony: Telephony,
        advisors: Advisors,
        words: Words,
        rules: VoicemailRules,
        link_of: Callable[[int], str],
        report: Callable[[int, Recorded], Awaitable[object]],
        outbox_due: Callable[[int, Purpose], None],
        clock: WallClock,
        alerts: Alerts,
    ) -> None:
        self._store = store
        self._telephony = telephony
        self._advisors = advisors
        self._words = words
        self._rules = rules
        self._link_of = link_of
        self._report = report
        self._outbox_due = outbox_due
        self._clock = clock
        self._alerts = alerts
        self._woken = trio.Event()
        self._looks: set[datetime] = set()

    def due(self) -> None:
        """A recording is to be fetched."""
        self._woken.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a database and a Twilio that are down."""
        task_status.started()
        while True:
            self._woken = trio.Event()
            with self._alerts.while_failing(
                _STORE_ALERT, "recordings cannot be looked for in the database", StoreUnavailableError
            ):
                await self._look()
            with trio.move_on_after(self._wait_s()):
                await self._woken.wait()

    async def _look(self) -> None:
        now = self._clock.now()
        self._looks = {moment for moment in self._looks if moment > now}
        due = await self._store.due(now=now, limit=BATCH)
        for awaited in due:
            await self._fetch(awaited)
        undeleted: Sequence[UndeletedRecording] = []
        if not self._rules.keeps_at_twilio:
            undeleted = await self._store.undeleted(now=self._clock.now(), limit=BATCH)
        for recording in undeleted:
            await self._delete(recording)
        unsought = await self._store.unsought(now=self._clock.now(), limit=BATCH)
        has_sought = await self._seek_through(unsought)
        if BATCH in {len(due), len(undeleted), len(unsought) if has_sought else 0}:
            self.due()

    def _wait_s(self) -> float:
        """Until what comes next is due, as far as it is known here; the rest may wait for the next look."""
        if not self._looks:
            return LOOK_EVERY_S
        until_s = (min(self._looks) - self._clock.now()).total_seconds()
        return min(max(until_s, 0.0), LOOK_EVERY_S)

    async def _fetch(self, awaited: AwaitedRecording) -> None:
        try:
            found = await self._telephony.recording(awaited.sid, max_bytes=self._rules.max_bytes)
        except (VendorUnavailableError, VendorRefusedError) as problem:
            self._alerts.raise_alert(_FETCH_ALERT, f"recordings cannot be fetched from Twilio: {problem}")
            await self._later(awaited)
            return
        self._alerts.settle(_FETCH_ALERT)
        if found is NoRecording.NOT_THERE:
            await self._later(awaited)
        elif found is NoRecording.TOO_LARGE:
            await self._give_up(awaited, f"it is larger than {self._rules.max_bytes} bytes")
        else:
            await self._keep(awaited, KeptRecording(audio=found.audio, content_type=found.content_type))

    async def _seek_through(self, calls: Sequence[VoicemailCall]) -> bool:
        """False where Twilio gave no answer: it would give none for the rest, which stay due."""
        try:
            for call in calls:
                await self._seek(call)
        except (VendorUnavailableError, VendorRefusedError) as problem:
            self._alerts.raise_alert(
                _SEEK_ALERT, f"Twilio does not tell what callers have recorded: {problem}"
            )
            return False
        self._alerts.settle(_SEEK_ALERT)
        return True

    async def _seek(self, call: VoicemailCall) -> None:
        """Tell a call of what its caller has recorded, where that is not known here; and look again, until it is."""
        now, live_call_id = self._clock.now(), call.live_call_id
        if now - call.ended_at > GIVE_UP_AFTER:
            self._alerts.raise_alert(
                f"recordings_lost_{live_call_id}",
                f"whether a caller has left a message (live call {live_call_id}) was not learned within a day",
            )
            await self._store.sought(live_call_id, sids=())
            return
        found = await self._telephony.recordings_of(call.call_sid)
        if await self._store.sought(live_call_id, sids=[made.sid for made in found]):
            return
        for made in found:
            if made.duration_s or now - call.ended_at > MADE_WITHIN:
                await self._report(live_call_id, Recorded(made.sid, made.duration_s))
        await self._store.seek_later(live_call_id, until=now + SEEK_AGAIN)

    async def _later(self, awaited: AwaitedRecording) -> None:
        if self._clock.now() - awaited.recorded_at > GIVE_UP_AFTER:
            await self._give_up(awaited, "Twilio did not give it within a day")
            return
        await self._postpone(awaited)

    async def _postpone(self, recording: AwaitedRecording | UndeletedRecording) -> None:
        pause_s = doubling_s(RETRY_FIRST_S, recording.attempts, max_s=RETRY_MAX_S)
        until = self._clock.now() + timedelta(seconds=pause_s)
        await self._store.postpone(recording.id, until=until)
        if pause_s < LOOK_EVERY_S:
            # The next look would come too late for a file that is ready in a moment.
            self._looks.add(until)

    async def _give_up(self, awaited: AwaitedRecording, why: str) -> None:
        await self._store.drop(awaited.id, reason=why)
        self._alerts.raise_alert(
            f"recording_lost_{awaited.id}",
            f"the message of a caller (recording {awaited.sid}) is not kept: {why}",
        )

    async def _keep(self, awaited: AwaitedRecording, recording: KeptRecording) -> None:
        # A caller who came to the menu may have asked for nobody.
        advisor = self._advisors.named(awaited.advisor) or next(iter(self._advisors), None)
        notice = self._notice(awaited, advisor) if advisor is not None else None
        person_id = await self._store.keep(awaited.id, recording, notice=notice, now=self._clock.now())
        _log.info("recording kept", live_call_id=awaited.live_call_id, recording_id=awaited.id)
        if advisor is None:
            self._alerts.raise_alert(
                f"recording_for_nobody_{awaited.id}",
                "a caller left a message, and there is no advisor to tell",
            )
        if person_id is not None:
            self._outbox_due(person_id, Purpose.NOTICE)

    async def _delete(self, recording: UndeletedRecording) -> None:
        if await self._telephony.delete_recording(recording.sid):
            await self._store.deleted(recording.id, now=self._clock.now())
            self._alerts.settle(_DELETE_ALERT)
        else:
            self._alerts.raise_alert(_DELETE_ALERT, "recordings that are kept cannot be deleted at Twilio")
            await self._postpone(recording)

    def _notice(self, awaited: AwaitedRecording, advisor: Advisor) -> Notice:
        number = awaited.caller or ""
        facts = CallFacts(
            name=awaited.caller_name or "",
            number=number,
            digits=last_digits(number),
            advisor=advisor.name,
            link=self._link_of(awaited.id),
            duration_s=awaited.duration_s,
            hours=self._rules.link_hours,
        )
        template = None
        if self._rules.template_sid:
            variables = self._words.notice_variables(facts)
            template = Template(sid=self._rules.template_sid, variables=variables)
        return Notice(
            address=advisor.whatsapp,
            identities=identities_of(advisor.whatsapp),
            name=advisor.name,
            text=self._words.say("notice", facts),
            template=template,
            agent_id=self._rules.text_agent_id,
        )
