"""A picture of a call: who heard what when, leg by leg. Drawn by matplotlib, which is an extra."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import Factory, frozen

from daemon.lab.hearing import Window, spans_where, what_sounded
from daemon.lab.twilio.voice.audible import Audible, Heard, Kind, Part, Signal
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.side import VoiceSide
from daemon.masking import mask_phone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A file whose name says nothing: a sentence kept under its hash.
_HASHED: Final = re.compile(r"[0-9a-f]{16,}\.\w+")
# Pieces of one sound that are closer are one.
SEAM_S: Final = 0.12


class PlotMissingError(Exception):
    """Pictures cannot be drawn here; the message says what to install."""


class Lane(Enum):
    """What is heard, by its name in the picture."""

    AGENT = "agent"
    MUSIC = "music"
    PEOPLE = "people"
    ANNOUNCEMENT = "announcement"
    TONE = "ringing, tones"
    OPERATOR = "Twilio's error voice"


_COLORS: Final[Mapping[Lane, str]] = {
    Lane.AGENT: "#8fb0dc",
    Lane.MUSIC: "#c9a3e0",
    Lane.PEOPLE: "#f0b08a",
    Lane.ANNOUNCEMENT: "#8fcf9f",
    Lane.TONE: "#a0a0a0",
    Lane.OPERATOR: "#c44e52",
}
_LANE_OF: Final[Mapping[Kind, Lane]] = {
    Kind.SPEECH: Lane.PEOPLE,
    Kind.MUSIC: Lane.MUSIC,
    Kind.PLAY: Lane.ANNOUNCEMENT,
    Kind.SAY: Lane.ANNOUNCEMENT,
    Kind.TONE: Lane.TONE,
    Kind.OPERATOR: Lane.OPERATOR,
}
# The moments that stand in the picture.
_SHOWN: Final = frozenset(
    {
        "ringing",
        "answered",
        "joined",
        "left",
        "held",
        "unheld",
        "bridged",
        "record",
        "stream_dropped",
        "ended",
    }
)
_INCHES_PER_S: Final = 0.4
# Of seven points, as wide letters on the whole are.
_LETTERS_PER_INCH: Final = 15
_LINES_IN_BAR: Final = 2
_WIDTH_INCHES: Final = (12.0, 60.0)
_LANE_INCHES: Final = 0.35
_GROUP_INCHES: Final = 0.75


@frozen
class Bar:
    """Something that was heard, with what was said or played."""

    start_s: float
    end_s: float
    label: str = ""


@frozen
class Stroke:
    """A moment."""

    at_s: float
    name: str


@frozen(kw_only=True)
class Row:
    """One leg. Lanes in which nothing was heard are left out."""

    title: str
    lanes: Mapping[Lane, Sequence[Bar]]
    strokes: Sequence[Stroke]


@frozen(kw_only=True)
class Scene:
    """A call, with times from its beginning on."""

    rows: Sequence[Row] = Factory(tuple)
    length_s: float = 0.0


def legs_around(voice: VoiceSide, caller_sid: str) -> Sequence[Leg]:
    """The caller's leg and those that came up while it lived, oldest first. Of an application's pair the inner one: it has
    the stream.
    """
    caller = voice.leg(caller_sid)
    last = next(
        (
            event.ordinal
            for event in voice.ground.books.voice
            if event.call_sid == caller_sid and event.name == "ended"
        ),
        voice.ground.moments.last,
    )
    others = [leg for leg in voice.exchange.legs.values() if caller.born < leg.born <= last]
    return [caller, *(leg for leg in others if leg.far is None or leg.inner)]


def scene_of(voice: VoiceSide, legs: Sequence[Leg], said: Sequence[Bar] = ()) -> Scene:
    """What these legs heard, the caller's first. `said`: what the agent said, by the telephone's clock, for the labels."""
    events = [event for event in voice.ground.books.voice if event.call_sid == legs[0].sid]
    begin_s = events[0].at_s if events else voice.listening(legs[0].sid)[0]
    end_s = next((event.at_s for event in events if event.name == "ended"), voice.ground.now_s)
    moved = [Bar(one.start_s - begin_s, one.end_s - begin_s, one.label) for one in said]
    return Scene(
        rows=[
            Row(
                title=_title(leg, place),
                lanes=_lanes(voice.audible, leg, begin_s, end_s, moved),
                strokes=_strokes(voice, leg, begin_s, end_s),
            )
            for place, leg in enumerate(legs)
        ],
        length_s=end_s - begin_s,
    )


def draw(scene: Scene, file: Path, title: str = "") -> None:
    """Draw a PNG. Takes a second or so of a processor: give it a thread.

    Raises:
        PlotMissingError: there is no matplotlib.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise PlotMissingError("no matplotlib here: install it with  pip install 'relevo[plot]'") from None
    low, high = _WIDTH_INCHES
    width = min(high, max(low, scene.length_s * _INCHES_PER_S))
    heights = [_GROUP_INCHES + _LANE_INCHES * max(1, len(row.lanes)) for row in scene.rows]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    places: Sequence[Axes] = list(
        figure.subplots(
            len(scene.rows), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
        )[:, 0]
    )
    letters_per_s = width / max(scene.length_s, 1.0) * _LETTERS_PER_INCH
    for axes, row in zip(places, scene.rows, strict=True):
        axes.set_xlim(0, scene.length_s)
        _draw_row(axes, row, letters_per_s)
    places[-1].set_xlabel("seconds")
    if title:
        figure.suptitle(title)
    figure.savefig(file, dpi=100)


def _draw_row(axes: "Axes", row: Row, letters_per_s: float) -> None:
    from matplotlib.transforms import Bbox, TransformedBbox  # noqa: PLC0415 - an extra

    axes.set_title(row.title, loc="left", fontsize=10)
    axes.set_yticks(range(len(row.lanes)), [lane.value for lane in row.lanes])
    axes.set_ylim(max(1, len(row.lanes)) - 0.4, -0.9)
    axes.grid(visible=True, axis="x", alpha=0.3)
    for place, (lane, bars) in enumerate(row.lanes.items()):
        for bar in bars:
            length_s = bar.end_s - bar.start_s
            axes.broken_barh([(bar.start_s, length_s)], (place - 0.35, 0.7), color=_COLORS[lane])
            text = fitted(bar.label, length_s * letters_per_s)
            written = axes.text(bar.start_s + 0.05, place, text, fontsize=7, va="center", linespacing=1.0)
            # Wide letters may need more room than there is.
            box = Bbox.from_bounds(bar.start_s, place - 0.5, length_s, 1.0)
            written.set_clip_box(TransformedBbox(box, axes.transData))
            written.set_clip_on(True)
    for stroke in row.strokes:
        axes.axvline(stroke.at_s, color="black", linewidth=0.8, alpha=0.6)
    for label in labels_of(row.strokes, letters_per_s):
        axes.text(label.at_s, -0.85, f" {label.name}", fontsize=7, va="top", clip_on=True)


def labels_of(strokes: Sequence[Stroke], letters_per_s: float) -> Sequence[Stroke]:
    """Names of moments, those together for which there is no room side by side."""
    labels: list[Stroke] = []
    for stroke in strokes:
        last = labels[-1] if labels else None
        if last is not None and stroke.at_s < last.at_s + (len(last.name) + 2) / letters_per_s:
            labels[-1] = Stroke(last.at_s, f"{last.name}, {stroke.name}")
        else:
            labels.append(stroke)
    return labels


def _title(leg: Leg, place: int) -> str:
    if place == 0:
        return f"the caller {mask_phone(leg.number)} hears"
    return "the agent hears" if leg.inner else f"{mask_phone(leg.number)} hears"


def _lanes(
    audible: Audible, leg: Leg, begin_s: float, end_s: float, said: Sequence[Bar]
) -> Mapping[Lane, Sequence[Bar]]:
    heard = audible.heard(leg.sid, begin_s, end_s)
    found: dict[Lane, list[Bar]] = {}
    for entry in heard:
        if entry.kind is not Kind.STREAM:
            bar = Bar(entry.start_s - begin_s, entry.end_s - begin_s, _label(entry))
            found.setdefault(_LANE_OF[entry.kind], []).append(bar)
    for signal, first, last in _streams(heard):
        windows = what_sounded(audible.mixed([signal], first, last))
        for lane, sounds in ((Lane.AGENT, _has_voice), (Lane.MUSIC, _has_music)):
            spans = [
                Bar(since + first - begin_s, min(until + first, last) - begin_s)
                for since, until in spans_where(windows, sounds)
            ]
            if spans:
                words = said if lane is Lane.AGENT else ()
                found.setdefault(lane, []).extend(_with_words(spans, words))
    return {lane: found[lane] for lane in Lane if lane in found}


def _has_voice(window: Window) -> bool:
    return window.has_voice


def _has_music(window: Window) -> bool:
    return window.has_music


def _streams(heard: Iterable[Heard]) -> Iterator[tuple[Signal, float, float]]:
    """When something was heard of which stream, short gaps included."""
    open_spans: dict[str, tuple[float, float]] = {}
    for entry in heard:
        if entry.kind is not Kind.STREAM:
            continue
        first, last = open_spans.get(entry.call_sid, (entry.start_s, entry.end_s))
        if entry.start_s - last > SEAM_S:
            yield Signal(entry.call_sid, Part.STREAM), first, last
            first = entry.start_s
        open_spans[entry.call_sid] = first, max(last, entry.end_s)
    for call_sid, (first, last) in open_spans.items():
        yield Signal(call_sid, Part.STREAM), first, last


def _with_words(spans: Sequence[Bar], said: Sequence[Bar]) -> Iterator[Bar]:
    """The agent's voice, cut where a new sentence begins, with the words."""
    for span in spans:
        begins = [one for one in said if span.start_s + SEAM_S < one.start_s < span.end_s - SEAM_S]
        edges = [span.start_s, *(one.start_s for one in begins), span.end_s]
        for first, last in pairwise(edges):
            yield Bar(first, last, _words_at(said, (first + last) / 2))


def _words_at(said: Sequence[Bar], at_s: float) -> str:
    return next((one.label for one in reversed(said) if one.start_s <= at_s < one.end_s + 1.0), "")


def _label(entry: Heard) -> str:
    """Of a sound that was played only the file's name, if that says anything."""
    if "://" not in entry.label:
        return entry.label
    name = entry.label.rpartition("/")[2]
    return "a spoken sentence" if _HASHED.fullmatch(name) else name


def _strokes(voice: VoiceSide, leg: Leg, begin_s: float, end_s: float) -> Sequence[Stroke]:
    own = {leg.sid} | ({leg.far.sid} if leg.far is not None else set())
    return [
        Stroke(event.at_s - begin_s, event.name)
        for event in voice.ground.books.voice
        if event.call_sid in own and event.name in _SHOWN and begin_s <= event.at_s <= end_s
    ]


def fitted(text: str, letters: float) -> str:
    """As much of a text as there is room for, on two lines."""
    room = int(letters)
    if room < 2:
        return ""
    lines = textwrap.wrap(text, room, max_lines=_LINES_IN_BAR, placeholder="…")
    return "\n".join(lines)
