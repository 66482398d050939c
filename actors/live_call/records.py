"""What a live call writes down and looks up, and what is said of it from there.

What must not be lost is written for as long as the database is away; what is only good to know has a short deadline.
"""

from functools import partial
from itertools import count
from typing import Final, TypeAlias, assert_never

import structlog
import trio
from attrs import define, field

from actors.conversation.identity import identities_of
from actors.live_call import effects as do
from actors.live_call.hands import RETRY_FIRST_S, RETRY_MAX_S, Hands, Work
from actors.live_call.ports import CallerHistory
from actors.live_call.session_plan import facts_of, note_of
from actors.live_call.state import Ending, LeftMessage
from actors.ports import StoreUnavailableError
from actors.runtime.backoff import doubling_s

_log = structlog.get_logger(__name__)

HISTORY_S: Final = 2.0
WHISPER_S: Final = 20.0

RecordEffect: TypeAlias = do.PrepareWhisper | do.KeepSession | do.KeepRecording | do.Finish


@define(eq=False)
class Records:
    """Attributes:
    history: what is known of the caller, once it was looked up.
    """

    hands: Hands
    history: CallerHistory | None = field(default=None, init=False)
    _has_history: bool = field(default=False, init=False)

    def carry_out(self, effect: RecordEffect) -> None:
        """Begin what a step asked for."""
        match effect:
            case do.PrepareWhisper(leg):
                self.hands.start(partial(self.prepare_whisper, leg), "whisper")
            case do.KeepSession(conversation_id):
                self.hands.start(partial(self.keep_session, conversation_id), "session to be kept")
            case do.KeepRecording(message):
                self.hands.start(partial(self.keep_recording, message), "recording to be kept")
            case do.Finish(ending):
                self.hands.start(partial(self.finish, ending), "end to be kept")
            case _ as never:
                assert_never(never)

    async def learn_history(self) -> CallerHistory | None:
        """What is known of the caller, looked up once; a database that is slow costs the agent its memory, not the call."""
        if self._has_history or self.hands.call.caller is None:
            return self.history
        with trio.move_on_after(HISTORY_S):
            try:
                self.history = await self.hands.world.store.history(
                    identities_of(self.hands.call.caller), messages_max=self.hands.rules.history_messages
                )
                self._has_history = True
            except StoreUnavailableError:
                _log.warning("the agent knows nothing of the caller", live_call_id=self.hands.call.id)
        return self.history

    async def store(self, write: Work) -> None:
        """Write what must not be lost, for as long as the database is away. What a life of the actor does not come to,
        the next one does.
        """
        for attempt in count():
            try:
                await write()
            except StoreUnavailableError:
                await trio.sleep(doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S))
            else:
                return

    async def keep_session(self, conversation_id: str) -> None:
        await self.store(
            lambda: self.hands.world.store.keep_session(
                self.hands.call.id,
                conversation_id=conversation_id,
                agent_id=self.hands.rules.agent_id,
                now=self.hands.world.clock.now(),
            )
        )

    def carry_on(self) -> None:
        """Write down once more whatever the state says: the life before may have ended in between. Twice changes nothing."""
        state = self.hands.call.state
        for conversation_id in state.sessions:
            self.carry_out(do.KeepSession(conversation_id))
        for message in state.recordings:
            self.carry_out(do.KeepRecording(message))
        if state.ending is not None:
            self.carry_out(do.Finish(state.ending))

    async def keep_recording(self, message: LeftMessage) -> None:
        async def write() -> None:
            await self.hands.world.recordings.expect(
                self.hands.call.id,
                sid=message.sid,
                advisor=message.advisor,
                duration_s=message.duration_s,
                now=self.hands.world.clock.now(),
            )
            note = self.hands.world.words.say(
                "note_message", facts_of(self.hands.call, self.history, advisor=message.advisor)
            )
            await self.hands.world.store.add_note(self.hands.call.id, note)

        await self.store(write)
        self.hands.world.recordings_due()

    async def finish(self, ending: Ending) -> None:
        async def write() -> None:
            is_wanted = await self.hands.world.store.finish(
                self.hands.call.id,
                self.hands.call.state,
                ending=ending,
                note=note_of(self.hands.call.state, self.hands.world.words),
                follows_up=self.hands.rules.follows_up,
                now=self.hands.world.clock.now(),
            )
            if is_wanted:
                self.hands.world.details_due()

        await self.store(write)

    async def prepare_whisper(self, leg: int) -> None:
        """Have the advisor's sentence spoken before the telephone is picked up."""
        await self.learn_history()
        await self.hands.world.voice.audio_for(self.whisper(leg), within_s=WHISPER_S)

    def whisper(self, leg: int) -> str:
        wanted = self.hands.call.state.leg(leg)
        advisor = wanted.advisor if wanted is not None else ""
        return self.hands.world.words.say("whisper", facts_of(self.hands.call, self.history, advisor=advisor))
