"""The port to the agent's voice, for what a live call says outside of an agent's session."""

from collections.abc import Sequence
from typing import Protocol


class Voice(Protocol):
    """Sentences as sound, each made once."""

    async def audio_for(self, text: str, *, within_s: float) -> str | None:
        """The name under which the daemon serves the text, spoken, at `/voice/audio/<name>`.

        Nobody can guess it, and it says nothing of the text. None when the sound cannot be had in time or at all; then
        Twilio's own voice says the text. Never raises. Cancelled, it leaves nothing half done.
        """
        ...

    async def prepare(self, texts: Sequence[str]) -> None:
        """Have these texts ready, as far as that can be done now: one after the other, so that a call does not wait
        for them. Never raises.
        """
        ...
