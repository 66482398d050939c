"""What must be true of a call, whatever befell it: judged at the end by what everybody has heard, and by the legs.

Silence is allowed where somebody's turn it is: while the caller speaks, while a person is on the line with the caller,
while the agent's session is open and has answered all that it was asked, between a beep and the end of a recording, and
while a key is waited for. A kill excuses ten seconds from its moment on.
"""

from collections.abc import Collection, Iterable, Sequence
from math import inf
from typing import Final
from urllib.parse import parse_qs, urlsplit

import numpy as np
from attrs import frozen
from typing_extensions import override

from actors.calls import FollowUpState
from actors.live_call import paths
from actors.live_call.state import Mode
from actors.messages import Purpose
from daemon.lab.hearing import spans_where, what_sounded
from daemon.lab.twilio.books import VoiceEvent
from daemon.lab.twilio.voice.audible import Part, Signal
from daemon.lab.twilio.voice.calls import Direction
from daemon.lab.twilio.voice.legs import Leg
from daemon.web.voice_sounds import AUDIO
from tests.calls.house import ADVISORS
from tests.calls.stage import Stage
from tests.memory.database import LiveCallRow

Span = tuple[float, float]

KILL_EXCUSES_S: Final = 10.0
NO_ANSWER_S: Final = 16.0
"""So long Twilio waits for a document."""
DUCKED_MAX: Final = 0.5
"""Of the music's energy without a voice over it."""
_EDGE_S: Final = 1.2


@frozen
class Broken:
    """An invariant does not hold."""

    invariant: str
    detail: str

    @override
    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


@frozen(kw_only=True)
class Patience:
    """How much of each is allowed; a bad day is given more, since its faults hold up what would mend them.

    Attributes:
        silence_s: that a caller hears.
        legs_left_s: for legs of ours after the caller's.
        legs_left_after_kill_s: from when the daemon is back.
        alone_s: that an advisor is without the caller in the room.
        ring_extra_s: beyond the time that a telephone is to ring.
        hears_operator: Twilio's own voice may be heard, for a document could not be had.
        logs_errors: errors in the log are explained.
    """

    silence_s: float = 3.0
    legs_left_s: float = 5.0
    legs_left_after_kill_s: float = 15.0
    alone_s: float = 3.0
    ring_extra_s: float = 2.0
    is_music_sure: bool = True
    hears_operator: bool = False
    logs_errors: bool = False


def listen(stage: Stage, patience: Patience | None = None) -> Sequence[Broken]:
    """Everything that does not hold."""
    return list(_Ears(stage, patience or Patience()).all())


@frozen
class _Ears:
    stage: Stage
    patience: Patience

    def all(self) -> Iterable[Broken]:
        for caller in self.stage.callers:
            yield from self._silence(caller)
            yield from self._music(caller)
            yield from self._legs_left(caller)
            yield from self._one_advisor_at_a_time(caller)
        for leg in self._advisors():
            yield from self._alone(leg)
            yield from self._ring(leg)
        yield from self._twilios_voice()
        yield from self._books()
        yield from self._recordings()
        yield from self._crashes()

    # --- who is who ---

    def _events(self, leg: Leg, *names: str) -> Sequence[VoiceEvent]:
        return [e for e in self.stage.events if e.call_sid == leg.sid and (not names or e.name in names)]

    def _advisors(self, caller: Leg | None = None) -> Sequence[Leg]:
        return [
            leg
            for leg in self.stage.legs
            if leg.call.direction is Direction.OUTBOUND_API
            and not leg.number.startswith("app:")
            and (caller is None or self._caller_of(leg) is caller)
        ]

    def _ours(self, caller: Leg) -> Sequence[Leg]:
        return [leg for leg in self.stage.legs if leg is not caller and self._caller_of(leg) is caller]

    def _caller_of(self, leg: Leg) -> Leg | None:
        if leg in self.stage.callers:
            return leg
        if leg.inner:
            outer = self.stage.lab.voice.exchange.legs.get(leg.call.parent_sid or "")
            return None if outer is None else self._caller_of(outer)
        callback = leg.call.callback
        numbers = parse_qs(urlsplit(callback.url).query).get("c", []) if callback is not None else []
        row = self.stage.database.live_calls.get(int(numbers[0])) if numbers else None
        return next((c for c in self.stage.callers if row is not None and c.sid == row.call_sid), None)

    def _lived(self, leg: Leg) -> Span:
        """From its dial to its end."""
        ended_s = leg.call.ended_s
        return self.stage.seconds_of(leg.call.created_at), inf if ended_s is None else ended_s

    def _excuses(self) -> Sequence[Span]:
        return [(killed_s, max(back_s, killed_s + KILL_EXCUSES_S)) for killed_s, back_s in self.stage.kills]

    # --- what the caller hears ---

    def _silence(self, caller: Leg) -> Iterable[Broken]:
        answered_s, ended_s = caller.call.answered_s, caller.call.ended_s
        if answered_s is None or ended_s is None:
            return
        gaps = self.stage.lab.voice.audible.silences(caller.sid, answered_s, ended_s)
        allowed = [
            *self._own_speech(caller),
            *self._agents_patience(caller),
            *self._company(caller),
            *self._asked_for_sound(caller),
            *self._excuses(),
        ]
        for first, last in _without(gaps, allowed):
            if last - first > self.patience.silence_s and not self._was_sound_lost():
                yield Broken("no caller is left in silence", f"from {first:.2f} to {last:.2f}")

    def _was_sound_lost(self) -> bool:
        """Twilio never asked for something that it was to play, and plays nothing in its place."""
        return any(
            delivery.note == "lost" and (paths.HOLD_MUSIC in delivery.url or AUDIO in delivery.url)
            for delivery in self.stage.lab.books.webhooks
        )

    def _own_speech(self, caller: Leg) -> Sequence[Span]:
        sounds = self.stage.lab.voice.audible.sounds(Signal(caller.sid, Part.MOUTH))
        return [(sound.start_s, sound.end_s) for sound in sounds.entries]

    def _agents_patience(self, caller: Leg) -> Sequence[Span]:
        ahead_s, row = self.stage.ahead_s, self._row(caller)
        return [
            (first + ahead_s, last + ahead_s)
            for session in self.stage.agents.sessions
            if row is not None and session.conversation.id in self._sessions(row)
            for first, last in session.idle
        ]

    def _company(self, leg: Leg) -> Sequence[Span]:
        """When somebody else's voice reached this leg, if he said anything."""
        return [
            (first, last)
            for first, last, signals in self.stage.lab.voice.audible._spans(leg.sid, 0.0, inf)
            if any(one.part is Part.MOUTH and one.call_sid != leg.sid for one in signals)
        ]

    def _asked_for_sound(self, caller: Leg) -> Sequence[Span]:
        """From the beep, or from the question for a key, to whatever comes next."""
        events = self._events(caller)
        found = []
        for place, event in enumerate(events):
            if event.name == "record":
                ends = [
                    e.at_s for e in events[place + 1 :] if e.name in {"recorded", "document", "play", "ended"}
                ]
            elif event.name == "gather":
                ends = [e.at_s for e in events[place + 1 :] if e.name in {"document", "ended"}]
            else:
                continue
            found.append((event.at_s, ends[0] if ends else inf))
        return found

    def _music(self, caller: Leg) -> Iterable[Broken]:
        """While an advisor's telephone rings, with the agent in the same room."""
        row = self._row(caller)
        if (
            not self.patience.is_music_sure
            or row is None
            or row.state.mode is not Mode.CONFERENCE
            or self.stage.kills
        ):
            return
        ended_s = caller.call.ended_s or inf
        for leg in self._advisors(caller):
            rings = self._events(leg, "ringing")
            over = self._events(leg, "answered", "ended")
            if rings and over:
                first, last = rings[0].at_s + _EDGE_S, min(over[0].at_s, ended_s)
                yield from self._heard_music(caller, first, last)

    def _heard_music(self, caller: Leg, first: float, last: float) -> Iterable[Broken]:
        if last - first < 1.0:
            return
        windows = what_sounded(self.stage.lab.voice.audible.audio(caller.sid, first, last))[:-1]
        for start, end in spans_where(windows, lambda window: not window.has_music):
            if end - start > self.stage.play.music_gap_s:
                detail = f"none from {first + start:.2f} to {first + end:.2f}"
                yield Broken("there is music while a telephone rings", detail)
        voiced = spans_where(windows, lambda window: window.has_voice)
        over = [w.music for w in windows for a, b in voiced if a + 0.3 <= w.start_s < b - 0.1]
        bare = [w.music for w in windows if all(not a - 0.2 <= w.start_s < b + 0.8 for a, b in voiced)]
        if len(over) >= 5 and len(bare) >= 5 and np.mean(over) > DUCKED_MAX * np.mean(bare):
            yield Broken("music is lower under the agent's voice", f"between {first:.2f} and {last:.2f}")

    # --- legs ---

    def _legs_left(self, caller: Leg) -> Iterable[Broken]:
        ended_s = caller.call.ended_s
        if ended_s is None:
            yield Broken("every call ends", "the caller's leg is open")
            return
        for leg in self._ours(caller):
            created_s, over_s = self._lived(leg)
            limit_s = max(ended_s, created_s) + self.patience.legs_left_s
            for killed_s, back_s in self.stage.kills:
                if killed_s < limit_s:
                    limit_s = max(limit_s, back_s + self.patience.legs_left_after_kill_s)
            if over_s > limit_s:
                yield Broken(
                    "no leg outlives the caller's",
                    f"{leg.number} until {over_s:.2f}, the caller until {ended_s:.2f}",
                )

    def _one_advisor_at_a_time(self, caller: Leg) -> Iterable[Broken]:
        legs = self._advisors(caller)
        known = set(ADVISORS[: self.stage.play.advisors_known])
        for place, leg in enumerate(legs):
            if leg.number not in known:
                yield Broken("nobody but advisors is called", leg.number)
            for other in legs[place + 1 :]:
                if self._lived(other)[0] < self._lived(leg)[1] - 0.5:
                    yield Broken("one advisor is called at a time", f"{leg.number} and {other.number}")

    def _alone(self, leg: Leg) -> Iterable[Broken]:
        keys = [event.at_s for event in self._events(leg, "key") if event.detail == "1"]
        accepted_s = keys[0] if keys else inf
        company = self._company(leg)
        if any(first < accepted_s for first, _ in company):
            yield Broken(
                "no advisor hears the caller before accepting", f"{leg.number} at {company[0][0]:.2f}"
            )
        events = self._events(leg)
        for place, event in enumerate(events):
            if event.name == "joined":
                gone = [e.at_s for e in events[place + 1 :] if e.name in {"left", "ended"}]
                seat = [(event.at_s, gone[0] if gone else inf)]
                for first, last in _without(seat, company):
                    if last - first > self.patience.alone_s:
                        yield Broken("no advisor sits alone", f"{leg.number} from {first:.2f} to {last:.2f}")

    def _ring(self, leg: Leg) -> Iterable[Broken]:
        rings, over = self._events(leg, "ringing"), self._events(leg, "answered", "ended")
        if not rings:
            return
        last_s = over[0].at_s if over else inf
        limit_s = self.stage.play.ring_s + self.patience.ring_extra_s
        if last_s - rings[0].at_s > limit_s and not self.stage.kills:
            yield Broken(
                "a telephone rings no longer than it may", f"{leg.number}: {last_s - rings[0].at_s:.1f} s"
            )

    def _twilios_voice(self) -> Iterable[Broken]:
        legs = {leg.sid: leg for leg in self.stage.legs if not leg.inner}
        for event in self.stage.events:
            leg = legs.get(event.call_sid)
            if leg is None:
                continue
            if self._is_excused(event.at_s):
                continue
            if event.name == "operator_voice" and not self.patience.hears_operator:
                yield Broken("nobody hears Twilio apologise", f"{leg.number} at {event.at_s:.2f}")
            if (
                event.name == "say"
                and self.stage.play.takes_s is not None
                and not self.patience.hears_operator
            ):
                yield Broken(
                    "who speaks has the agent's voice", f"{leg.number} at {event.at_s:.2f}: {event.detail}"
                )

    def _is_excused(self, at_s: float) -> bool:
        """Nobody was there to be asked for a document."""
        return any(killed_s <= at_s <= back_s + NO_ANSWER_S for killed_s, back_s in self.stage.kills)

    # --- the books ---

    def _row(self, caller: Leg) -> LiveCallRow | None:
        rows = self.stage.database.live_calls.values()
        return next((row for row in rows if row.call_sid == caller.sid), None)

    def _sessions(self, row: LiveCallRow) -> Collection[str]:
        """By what was kept of them, too: a state that could not be stored knows nothing of the newest."""
        kept = [call.id for call in self.stage.database.calls.values() if call.live_call_id == row.id]
        return {*row.state.sessions, *kept}

    def _books(self) -> Iterable[Broken]:
        if self.stage.is_stuck:
            yield Broken("every call ends", "it did not end by itself")
        for left in self.stage.what_is_left():
            yield Broken("everything comes to its end", left)
        for row in self.stage.database.live_calls.values():
            if row.ended_at is None or row.ending is None:
                yield Broken("every call ends", f"call {row.id} is {row.state.phase.value}")
            calls = [call for call in self.stage.database.calls.values() if call.live_call_id == row.id]
            states = {call.follow_up for call in calls}
            if not set(row.state.sessions) <= {call.id for call in calls}:
                yield Broken("sessions are kept", f"{len(calls)} of {len(row.state.sessions)}")
            if calls and states != {FollowUpState.AWAITING_DETAILS}:
                yield Broken("sessions are released", f"call {row.id}: {states}")
            if calls and sum(not call.is_part for call in calls) != 1:
                yield Broken("one session stands for its call", f"call {row.id}")

    def _recordings(self) -> Iterable[Broken]:
        database = self.stage.database
        made = self.stage.made_recordings
        kept = [row.sid for row in database.recordings.values() if row.kept is not None]
        if len(set(kept)) != len(kept) or set(made) - set(kept):
            yield Broken("every message is kept once", f"{len(made)} were made, {len(kept)} kept")
        notices = [row for row in database.outbound.values() if row.purpose is Purpose.NOTICE]
        wanted = len(kept) if self.stage.play.advisors_known else 0
        if len(notices) != wanted:
            yield Broken("every message is told once", f"{wanted} kept, {len(notices)} notices")

    def _crashes(self) -> Iterable[Broken]:
        for crash in self.stage.crashes:
            yield Broken("nothing crashes", crash)
        for logged in self.stage.logged:
            is_crash = logged.event.startswith(("child crashed", "request crashed"))
            if logged.level in {"error", "exception", "critical"} and (
                is_crash or not self.patience.logs_errors
            ):
                yield Broken("no error is logged", f"at {logged.at_s:.2f}: {logged.event} {logged.about}")


def _without(spans: Iterable[Span], allowed: Sequence[Span]) -> Sequence[Span]:
    """What is left of spans outside of others."""
    rest = list(spans)
    for first, last in allowed:
        rest = [
            piece
            for start, end in rest
            for piece in ((start, min(end, first)), (max(start, last), end))
            if piece[0] < piece[1]
        ]
    return rest
