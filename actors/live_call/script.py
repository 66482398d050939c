"""What persons on the telephone are given to hear: documents for the answers of a live call.

Spoken text is the agent's voice. What is always the same was made at the start, so that a moment is enough to have it;
what cannot be had in that moment is said by Twilio's.
"""

from collections.abc import Callable

from attrs import frozen

from actors.live_call.documents import (
    AdvisorGate,
    AdvisorRoom,
    AgentStream,
    CallerRoom,
    Document,
    Menu,
    Nothing,
    Prompt,
    SpokenEnd,
    Voicemail,
)
from actors.live_call.effects import Answer
from actors.live_call.mail import Answered
from actors.live_call.ports import LiveCall
from actors.live_call.telephony import room_name
from actors.live_call.voice import Voice
from actors.live_call.wording import SPOKEN, Words
from actors.live_call.world import Tokens

MOMENT_S = 1.0
"""Twilio waits 15 s for a document, and a caller hears nothing meanwhile."""


@frozen(kw_only=True)
class Script:
    """Attributes:
    audio_url: where Twilio finds a sound of this name.
    own_music_url: where Twilio finds our hold music, as it is now.
    lost_music_url: music that does not depend on this daemon, for an agent's leg that has lost its stream.
    """

    words: Words
    voice: Voice
    tokens: Tokens
    audio_url: str
    own_music_url: Callable[[], str]
    lost_music_url: str | None
    call_max_s: int
    advisor_talk_max_s: int
    recording_max_s: int

    async def for_caller(self, answered: Answered | None) -> Document:
        """The next document of the caller's leg; a polite end where there is no answer."""
        if answered is None:
            return await self.end("goodbye")
        call = answered.call
        match answered.answer:
            case Answer.ROOM:
                return CallerRoom(
                    live_call_id=call.id, room=room_name(call.call_sid), time_limit_s=self.call_max_s
                )
            case Answer.STREAM:
                return self._stream(call)
            case Answer.MENU:
                return Menu(live_call_id=call.id, prompts=[await self._prompt("menu")])
            case Answer.VOICEMAIL:
                return await self._voicemail(call)
            case Answer.THANKS:
                return await self.end("recorded")
            case _:
                return await self.end("goodbye")

    async def for_advisor(self, answered: Answered | None, leg: int) -> Document:
        """The next document of an advisor's leg."""
        if answered is None:
            return await self.end("caller_gone")
        call = answered.call
        match answered.answer:
            case Answer.WHISPER:
                press = await self._prompt("press_one")
                return AdvisorGate(
                    live_call_id=call.id,
                    leg=leg,
                    whisper=[await self._spoken(answered.whisper), press],
                    again=[press],
                )
            case Answer.ROOM:
                return AdvisorRoom(
                    live_call_id=call.id,
                    room=room_name(call.call_sid),
                    time_limit_s=self.advisor_talk_max_s,
                )
            case Answer.GOODBYE:
                return SpokenEnd()
            case _:
                return await self.end("caller_gone")

    def for_agent(self, token: str, *, is_callers_leg: bool) -> Document:
        """The stream; a leg with a token that is not ours is ended."""
        read = self.tokens.read(token)
        if read is None:
            return Nothing()
        return AgentStream(
            token=token,
            own_music_url=self.own_music_url(),
            lost_music_url=self.lost_music_url,
            caller_of=read[0] if is_callers_leg else None,
        )

    async def end(self, name: str) -> Document:
        """Last words of this name."""
        return SpokenEnd(prompts=[await self._prompt(name)])

    async def prepare(self) -> None:
        """Have everything that is always the same spoken. Never raises."""
        await self.voice.prepare([self.words.say(name) for name in SPOKEN])

    def _stream(self, call: LiveCall) -> Document:
        agent = call.state.agent
        if agent is None:
            return Nothing()
        return self.for_agent(self.tokens.token_of(call.id, agent.ordinal), is_callers_leg=True)

    async def _voicemail(self, call: LiveCall) -> Document:
        return Voicemail(
            live_call_id=call.id,
            prompts=[await self._prompt("voicemail")],
            nothing_recorded=[await self._prompt("nothing_recorded")],
            length_max_s=self.recording_max_s,
        )

    async def _prompt(self, name: str) -> Prompt:
        return await self._spoken(self.words.say(name))

    async def _spoken(self, text: str) -> Prompt:
        name = await self.voice.audio_for(text, within_s=MOMENT_S)
        return Prompt(text, f"{self.audio_url}/{name}" if name is not None else None)
