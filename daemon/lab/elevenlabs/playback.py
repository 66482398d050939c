"""What of the agent's voice the client has been sent and not yet played: replies wait for each other. Pure."""

import math
from collections.abc import Sequence
from typing import Any

from attrs import define, field


@define(eq=False, kw_only=True)
class Voiced:
    """One reply as sound.

    Attributes:
        start_s, end_s: trio time at which its playing begins and ends; a client that plays at once keeps to them.
        entry: its entry in the transcript.
        is_cut: the caller did not hear all of it; `end_s` is then when it was cut off.
    """

    text: str
    event_id: int
    start_s: float
    end_s: float
    entry: dict[str, Any]
    is_cut: bool = False

    def cut(self, now_s: float) -> str:
        """Break it off; gives what of the text was heard."""
        share = max(0.0, (now_s - self.start_s) / (self.end_s - self.start_s))
        heard = self.text[: int(len(self.text) * share)].rstrip() + "…"
        self.is_cut = True
        self.start_s, self.end_s = min(self.start_s, now_s), now_s
        self.entry["interrupted"] = True
        self.entry["original_message"] = self.text
        self.entry["message"] = heard
        return heard


@define(eq=False)
class Playback:
    """The replies under way to the caller's ear.

    Attributes:
        until_s: trio time at which all that was sent has been heard.
    """

    until_s: float = -math.inf
    _voiced: list[Voiced] = field(factory=list, init=False)

    def add(
        self, text: str, event_id: int, length_s: float, entry: dict[str, Any], *, now_s: float
    ) -> Voiced:
        """A reply's sound is being sent; it is heard when what was sent before has been."""
        start_s = max(now_s, self.until_s)
        voiced = Voiced(text=text, event_id=event_id, start_s=start_s, end_s=start_s + length_s, entry=entry)
        self.until_s = voiced.end_s
        self._voiced = [one for one in self._voiced if one.end_s > now_s]
        self._voiced.append(voiced)
        return voiced

    def is_on(self, now_s: float) -> bool:
        return now_s < self.until_s

    def cut(self, now_s: float) -> Sequence[tuple[Voiced, str]]:
        """Break off what has not been heard; gives each such reply with what of it was."""
        unheard = [one for one in self._voiced if one.end_s > now_s]
        self._voiced.clear()
        self.until_s = min(self.until_s, now_s)
        return [(one, one.cut(now_s)) for one in unheard]
