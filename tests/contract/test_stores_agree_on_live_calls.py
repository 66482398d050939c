"""The random lives of `test_stores_agree`, in which people call us, leave messages, and advisors are told of them."""

from datetime import datetime, timedelta

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from typing_extensions import override

from actors.calls import CallDetails, FollowUpState
from actors.live_call.ports import KeptRecording, Notice
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode
from actors.messages import Template
from daemon.store.pool import Pool
from tests.contract.arbitrary import (
    CALL_IDS,
    call_ids,
    call_states,
    details,
    endings,
    incoming_calls,
    moments,
    names,
    notes,
    people,
    recording_sids,
    templates,
    which,
)
from tests.contract.stores import TEXT_AGENT, VOICE_AGENT, Stores
from tests.contract.test_stores_agree import StoresAgree, live_random_lives
from tests.contract.twins import Side, Twins

CALL_SIDS = ["CA1", "CA2"]


class StoresAgreeOnLiveCalls(StoresAgree):
    def __init__(self, twins: Twins) -> None:
        super().__init__(twins)
        self.live_calls: list[int] = []
        self.recordings: list[int] = []

    def live_call(self, chosen: int) -> int:
        return self.live_calls[chosen % len(self.live_calls)]

    # --- Calls ---

    @rule(incoming=incoming_calls, mode=st.sampled_from(Mode))
    def begin_call(self, incoming: IncomingCall, mode: Mode) -> None:
        begun = self.ask(lambda side: side.stores.live_calls.begin(incoming, mode=mode, now=self.now))
        if begun.id not in self.live_calls:
            self.live_calls.append(begun.id)

    @precondition(lambda self: self.live_calls)
    @rule(chosen=which, state=call_states)
    def save_state(self, chosen: int, state: CallState) -> None:
        live_call_id = self.live_call(chosen)
        self.ask(lambda side: side.stores.live_calls.save(side.live_call(live_call_id), state, now=self.now))
        self.ask(lambda side: side.stores.live_calls.load(side.live_call(live_call_id)))

    @precondition(lambda self: self.live_calls)
    @rule(chosen=which, kept=st.lists(call_ids, min_size=1, max_size=3), wait=moments)
    def keep_sessions(self, chosen: int, kept: list[str], wait: timedelta) -> None:
        live_call_id = self.live_call(chosen)
        for call_id in kept:
            self.now += wait
            self.ask(
                lambda side, call_id=call_id: side.stores.live_calls.keep_session(  # type: ignore[misc]
                    side.live_call(live_call_id), conversation_id=call_id, agent_id=VOICE_AGENT, now=self.now
                )
            )

    @precondition(lambda self: self.live_calls)
    @rule(chosen=which, state=call_states, ending=endings, note=notes, follows_up=st.booleans(), wait=moments)
    def finish_call(
        self, chosen: int, state: CallState, ending: Ending, note: str, wait: timedelta, *, follows_up: bool
    ) -> None:
        live_call_id = self.live_call(chosen)
        self.now += wait
        self.ask(
            lambda side: side.stores.live_calls.finish(
                side.live_call(live_call_id),
                state,
                ending=ending,
                note=note,
                follows_up=follows_up,
                now=self.now,
            )
        )

    @precondition(lambda self: self.live_calls)
    @rule(chosen=which, note=notes)
    def add_note(self, chosen: int, note: str) -> None:
        live_call_id = self.live_call(chosen)
        self.ask(lambda side: side.stores.live_calls.add_note(side.live_call(live_call_id), note))

    @rule(found=details, who=people, name=names)
    def details_come(self, found: CallDetails, who: tuple[str, ...], name: str | None) -> None:
        """As the call monitor takes them in; so that lives get somewhere."""
        waiting = self.ask(lambda side: side.stores.calls.awaiting_details(now=self.now, limit=1))
        for call in waiting:
            self.ask(
                lambda side, call=call: side.stores.calls.save_details(  # type: ignore[misc]
                    evolve(found, id=call.id),
                    client_name=name,
                    identities=who,
                    follow_up=FollowUpState.DUE,
                    agent_id=TEXT_AGENT,
                ),
                "person",
            )

    @rule(who=people, messages_max=st.integers(0, 5))
    def history(self, who: tuple[str, ...], messages_max: int) -> None:
        self.ask(lambda side: side.stores.live_calls.history(who, messages_max=messages_max))

    # --- Recordings ---

    @precondition(lambda self: self.live_calls)
    @rule(chosen=which, sid=recording_sids)
    def expect(self, chosen: int, sid: str) -> None:
        live_call_id = self.live_call(chosen)
        self.ask(
            lambda side: side.stores.recordings.expect(
                side.live_call(live_call_id), sid=sid, advisor="Beto", duration_s=5, now=self.now
            )
        )
        self.look_for_recordings(timedelta())

    def look_for_recordings(self, later: timedelta) -> None:
        found = self.ask(lambda side: side.stores.recordings.due(now=self.now + later, limit=5))
        self.recordings += [recording.id for recording in found if recording.id not in self.recordings]
        self.ask(lambda side: side.stores.recordings.undeleted(now=self.now + later, limit=5), "recording")

    @precondition(lambda self: self.live_calls)
    @rule(chosen=which, later=moments, wait=moments, sids=st.lists(recording_sids, max_size=2))
    def seek(self, chosen: int, later: timedelta, wait: timedelta, sids: list[str]) -> None:
        async def unsought(side: Side) -> list[tuple[str, datetime]]:
            found = await side.stores.recordings.unsought(now=self.now + later, limit=5)
            return [(call.call_sid, call.ended_at) for call in found]

        live_call_id, until = self.live_call(chosen), self.now + wait
        self.ask(unsought)
        self.ask(lambda side: side.stores.recordings.seek_later(side.live_call(live_call_id), until=until))
        self.ask(unsought)
        self.ask(lambda side: side.stores.recordings.sought(side.live_call(live_call_id), sids=sids))
        self.ask(unsought)

    @precondition(lambda self: self.recordings)
    @rule(chosen=which, wait=moments, how=st.sampled_from(["postpone", "drop", "deleted"]))
    def set_aside(self, chosen: int, wait: timedelta, how: str) -> None:
        recording_id = self.recordings[chosen % len(self.recordings)]
        if how == "postpone":
            until = self.now + wait
            self.ask(lambda side: side.stores.recordings.postpone(side.recording(recording_id), until=until))
        elif how == "drop":
            self.ask(lambda side: side.stores.recordings.drop(side.recording(recording_id), reason="unknown"))
        else:
            self.ask(lambda side: side.stores.recordings.deleted(side.recording(recording_id), now=self.now))

    @precondition(lambda self: self.recordings)
    @rule(chosen=which, advisor=st.none() | people, name=names, template=templates)
    def keep_recording(
        self, chosen: int, advisor: tuple[str, ...] | None, name: str | None, template: Template | None
    ) -> None:
        recording_id = self.recordings[chosen % len(self.recordings)]
        recording = KeptRecording(audio=b"\x00\xff", content_type="audio/x-wav")
        notice = None
        if advisor is not None:
            notice = Notice(
                address=advisor[-1],
                identities=advisor,
                name=name or "",
                text="Ana dejó un mensaje.",
                template=template,
                agent_id=TEXT_AGENT,
            )
        told = self.ask(
            lambda side: side.stores.recordings.keep(
                side.recording(recording_id), recording, notice=notice, now=self.now
            ),
            "person",
        )
        self.met(told)
        self.ask(lambda side: side.stores.recordings.kept(side.recording(recording_id)))

    # --- What everybody can see ---

    @override
    def teardown(self) -> None:
        super().teardown()
        self.ask(lambda side: side.stores.live_calls.unfinished(), "live call")
        for call_sid in CALL_SIDS:
            self.ask(lambda side, sid=call_sid: side.stores.live_calls.find(sid), "live call")  # type: ignore[misc]
        for live_call_id in self.live_calls:
            self.ask(lambda side, it=live_call_id: side.stores.live_calls.load(side.live_call(it)))  # type: ignore[misc]
            self.ask(lambda side, it=live_call_id: side.stores.peek.ending(side.live_call(it)))  # type: ignore[misc]
        for call_id in CALL_IDS:
            self.ask(lambda side, it=call_id: side.stores.peek.session(it))  # type: ignore[misc]
        self.look_for_recordings(timedelta(days=1))


async def test_they_agree_when_people_call(store_pool: Pool, postgres_stores: Stores) -> None:
    await live_random_lives(StoresAgreeOnLiveCalls, store_pool, postgres_stores, steps=30)
