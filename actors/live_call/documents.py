"""What a leg is to do next, as the answer to Twilio's question. Pure values; `daemon.twilio.twiml` writes them down.

A document is complete: what comes after its last step, and after a step that fails, stands in it, so that a leg never
depends on a daemon that is being restarted.
"""

from collections.abc import Sequence
from typing import TypeAlias

from attrs import frozen


@frozen
class Prompt:
    """Something said to a person.

    Attributes:
        text: said by Twilio's voice where there is no sound.
        audio_url: the same in the agent's voice; whole, and reachable for Twilio.
    """

    text: str
    audio_url: str | None = None


Prompts: TypeAlias = Sequence[Prompt]


@frozen(kw_only=True)
class CallerRoom:
    """The caller goes into the room, with hold music until somebody else is in it; the room ends with the caller.

    When the caller is out of it again, whoever put an end to it, `/voice/after` is asked.
    """

    live_call_id: int
    room: str
    time_limit_s: int


@frozen(kw_only=True)
class AgentStream:
    """The leg becomes a media stream to us, which shows `token` when it opens.

    It goes on when the socket closes, ours or theirs: with `lost_music_url` for as long as the leg lives, so that nobody
    waits in silence while a daemon that was killed starts again, else with `own_music_url`, once, and ten seconds.

    Attributes:
        own_music_url: where music of ours lies.
        lost_music_url: where a sound lies that does not depend on us, such as a company's own server.
        caller_of: the live call whose caller is on this very leg: its leg asks `/voice/after` when nothing is left to
            play. None for an agent's own leg, which ends.
    """

    token: str
    own_music_url: str
    lost_music_url: str | None = None
    caller_of: int | None = None


@frozen(kw_only=True)
class AdvisorGate:
    """The advisor hears who is calling, and presses a key; nothing else proves a person.

    Asked twice, the second time by `again` alone; each time there are six seconds to press a key, which goes to
    `/voice/transfer/accept`. Without any `/voice/transfer/declined` is asked.
    """

    live_call_id: int
    leg: int
    whisper: Prompts
    again: Prompts


@frozen(kw_only=True)
class AdvisorRoom:
    """The advisor goes into the room; when he leaves it goes on, and when it is over his leg ends."""

    live_call_id: int
    room: str
    time_limit_s: int


@frozen(kw_only=True)
class SpokenEnd:
    """Last words, or none; then the leg ends."""

    prompts: Prompts = ()


@frozen(kw_only=True)
class Voicemail:
    """The caller leaves a message: until the key #, a silence, the limit or a hang-up.

    `/voice/voicemail/done` is asked when something was recorded; when nothing was, `nothing_recorded` is said and the leg
    ends. The recording itself is told to `/voice/voicemail/recording`, and that there is none too.
    """

    live_call_id: int
    prompts: Prompts
    nothing_recorded: Prompts
    length_max_s: int
    silence_s: int = 5


@frozen(kw_only=True)
class Menu:
    """The caller presses a key, or none: either way `/voice/menu/choice` is asked."""

    live_call_id: int
    prompts: Prompts


@frozen
class HoldMusic:
    """Music without end, for somebody who waits in a room. One that cannot be had is asked for again."""

    url: str


@frozen
class AskAgain:
    """Nothing can be said yet: after a moment `path` is asked, with its query."""

    path: str


@frozen
class Nothing:
    """Nothing to do: a leg that has no more ends."""


Document: TypeAlias = (
    CallerRoom
    | AgentStream
    | AdvisorGate
    | AdvisorRoom
    | SpokenEnd
    | Voicemail
    | Menu
    | HoldMusic
    | AskAgain
    | Nothing
)
