"""The agent's voice: a reply as audio frames, and how they go wrong."""

import base64
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import trio

from daemon.lab.elevenlabs import wire
from daemon.lab.elevenlabs.playback import Voiced
from daemon.lab.elevenlabs.session import Point, Session, Turn
from daemon.lab.elevenlabs.speech import spoken_s, tone

_CHUNK_S: Final = 1.0
_SLOW_CHUNK_S: Final = 1.5
# Of no telephone frame's length, and even, so that no sample of two bytes is torn.
_ODD_BYTES: Final = (2, 158, 162, 1_554, 4_094)


async def send_voice(
    session: Session, turn: Turn, text: str, event_id: int, entry: dict[str, Any], *, opens_answer: bool
) -> None:
    """Send a reply's audio at once, faster than it can be heard, as the live service does.

    With `opens_answer` the faults that strike in the middle of an answer strike after its first chunk.

    Raises:
        TurnCutError: the caller spoke over it.
    """
    faults = session.world.faults
    if faults.strikes("audio_never"):
        return
    length_s = spoken_s(text)
    sound = tone(length_s, session.settings["tts"]["agent_output_audio_format"])
    second = len(sound) / length_s
    if faults.strikes("audio_stops"):
        sound = sound[: int(len(sound) / 2) & ~1]
    chunks = list(_chunks(sound, second, odd=faults.strikes("audio_odd") is not None))
    slow = faults.strikes("audio_slow")
    pause_s = float(slow.details.get("seconds", _SLOW_CHUNK_S)) if slow is not None else 0.0
    # A client that has to wait for a chunk is late with all that follow.
    lasts_s = max(len(sound) / second, pause_s * (len(chunks) - 1) + len(chunks[-1]) / second)
    now_s = trio.current_time()
    voiced = session.playback.add(text, event_id, lasts_s, entry, now_s=now_s)
    _tell_when_heard(session, voiced, now_s)
    for place, chunk in enumerate(chunks):
        await session.emit(wire.audio(base64.b64encode(chunk).decode("ascii"), event_id))
        if place == 0 and opens_answer:
            await session.meet_fault(Point.DELTA)
        if place < len(chunks) - 1:
            await turn.pause(pause_s)
        turn.check()


def _chunks(sound: bytes, second: float, *, odd: bool) -> Iterator[bytes]:
    sizes: Iterator[int] = itertools.cycle(_ODD_BYTES if odd else (round(second * _CHUNK_S) & ~1,))
    start = 0
    while start < len(sound):
        size = next(sizes)
        yield sound[start : start + size]
        start += size


def _tell_when_heard(session: Session, voiced: Voiced, now_s: float) -> None:
    """Have the world told as a client that plays at once begins the reply, and when it has played all of it."""
    world = session.world
    session.conversation.voiced.append(voiced)

    def tell(report: Callable[[str], None]) -> None:
        if not voiced.is_cut:
            report(voiced.text)

    world.agenda.after(voiced.start_s - now_s, partial(tell, world.on_agent_speaks))
    world.agenda.after(voiced.end_s - now_s, partial(tell, world.on_agent_said))
