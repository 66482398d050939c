"""The picture of a call: what is in it, and that it can be drawn."""

import io
import sys
import wave
from pathlib import Path

import pytest
from trio.testing import MockClock

from daemon.lab.elevenlabs.speech import tone as agent_voice
from daemon.lab.picture import (
    Bar,
    Lane,
    PlotMissingError,
    Row,
    Scene,
    Stroke,
    draw,
    fitted,
    labels_of,
    legs_around,
    scene_of,
)
from daemon.lab.twilio.voice.audible import Kind, Part, Signal
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.mulaw import SILENT, mix, tone, wav
from daemon.lab.twilio.voice.script import Script, Step
from tests.contract.lab_twilio_talk import paper_with, sleep, talking
from tests.contract.lab_twilio_voice import ADVISOR, PAPER, Paper, Told, on_paper, order

ACCEPTED = "<Dial><Conference beep='false' participantLabel='advisor'>sala</Conference></Dial>"


def approx(bar: Bar) -> Bar:
    return Bar(pytest.approx(bar.start_s, abs=0.11), pytest.approx(bar.end_s, abs=0.11), bar.label)  # type: ignore[arg-type]


def streamed(paper: Paper, leg: Leg, audio: bytes, at_s: float) -> None:
    """As if a media stream had played this to the leg."""
    audible = paper.lab.books.audible
    audible.sounds(Signal(leg.sid, Part.STREAM)).extend(Kind.STREAM, "MZ1", audio, at_s)
    audible.connect(leg.sid, frozenset({Signal(leg.sid, Part.STREAM)}), at_s)


async def test_every_leg_of_a_call_has_a_row(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(accepted=ACCEPTED)) as paper:
        paper.lab.voice.script(ADVISOR, Script(steps=[Step(at="joined", say="Buenas tardes", say_s=2.0)]))
        caller, agent = await talking(paper)
        advisor = paper.lab.voice.exchange.dial(order(program=Fetch(url=f"{PAPER}/accepted")))
        await paper.until("speech", advisor)
        paper.post(paper.conferences.kick, "sala", "agent")
        await sleep(paper, 5.0)
        paper.lab.voice.hang_up(caller.sid)
        await advisor.ended.wait()
        other = paper.call_in()
        legs = legs_around(paper.lab.voice, caller.sid)
        scene = scene_of(paper.lab.voice, legs)

    assert agent.far is not None
    assert [leg.sid for leg in legs] == [caller.sid, agent.far.sid, advisor.sid]
    assert other.sid not in {leg.sid for leg in legs}
    first, second, third = scene.rows
    assert [row.title for row in (first, second, third)] == [
        "the caller +52•••5678 hears",
        "the agent hears",
        "+52•••9999 hears",
    ]
    assert list(first.lanes) == [Lane.MUSIC, Lane.PEOPLE, Lane.ANNOUNCEMENT]
    assert [bar.label for bar in first.lanes[Lane.PEOPLE]] == ["Buenas tardes"]
    assert {bar.label for bar in first.lanes[Lane.MUSIC]} == {"music.wav"}
    assert {"answered", "joined", "ended"} <= {stroke.name for stroke in first.strokes}
    assert "left" in {stroke.name for stroke in second.strokes}
    assert scene.length_s == pytest.approx(max(stroke.at_s for stroke in first.strokes))


async def test_voice_and_music_of_one_stream_are_told_apart(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Say/><Pause length='60'/>"}) as paper:
        caller = paper.call_in()
        await caller.answered.wait()
        music = tone(620, 1.0) * 6
        voice = SILENT * 16_000 + agent_voice(2.0, "ulaw_8000") + SILENT * 16_000
        streamed(paper, caller, mix([music, voice]), 0.0)
        await sleep(paper, 10.0)
        said = [Bar(2.0, 3.0, "Un momento."), Bar(3.0, 4.0, "Le comunico.")]
        [row] = scene_of(paper.lab.voice, [caller], said).rows

    assert row.lanes[Lane.MUSIC] == [approx(Bar(0.0, 6.0))]
    assert row.lanes[Lane.AGENT] == [
        approx(Bar(2.0, 3.0, "Un momento.")),
        approx(Bar(3.0, 4.0, "Le comunico.")),
    ]


async def test_what_a_leg_heard_can_be_listened_to(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Say>Hola a todos</Say><Pause/>"}) as paper:
        caller = paper.call_in()
        await caller.ended.wait()
        file = paper.lab.voice.heard_wav(caller.sid)

    with wave.open(io.BytesIO(file)) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(12 / 15 + 1.0, abs=0.01)


def a_scene() -> Scene:
    bars = {Lane.AGENT: [Bar(0.0, 3.0, "Un texto que es mucho más largo que su barra " * 3)]}
    strokes = [Stroke(1.0, "answered")]
    return Scene(
        rows=[
            Row(title="the caller hears", lanes=bars, strokes=strokes),
            Row(title="nobody hears", lanes={}, strokes=()),
        ],
        length_s=5.0,
    )


def test_names_that_would_stand_on_each_other_stand_together() -> None:
    strokes = [Stroke(1.0, "ringing"), Stroke(1.0, "answered"), Stroke(2.0, "joined"), Stroke(9.0, "left")]

    assert labels_of(strokes, letters_per_s=10.0) == [
        Stroke(1.0, "ringing, answered, joined"),
        Stroke(9.0, "left"),
    ]


@pytest.mark.parametrize(
    ("text", "letters", "shown"),
    [
        ("Buenas tardes", 20.0, "Buenas tardes"),
        ("Buenas tardes, soy Marta Ruiz", 14.9, "Buenas tardes,\nsoy Marta Ruiz"),
        ("Buenas tardes, soy Marta Ruiz y quiero", 14.0, "Buenas tardes,\nsoy Marta…"),
        ("Buenas", 1.9, ""),
    ],
)
def test_words_stay_in_their_box(text: str, letters: float, shown: str) -> None:
    assert fitted(text, letters) == shown


async def test_a_file_that_is_named_by_a_hash_goes_without_it(autojump_clock: MockClock) -> None:
    name = f"{'0a' * 16}.wav"
    pages: dict[str, Told] = {"/incoming": f"<Play>/{name}</Play>", f"/{name}": wav(tone(440, 2.0))}
    async with on_paper(pages) as paper:
        caller = paper.call_in()
        await caller.ended.wait()
        [row] = scene_of(paper.lab.voice, [caller]).rows

    assert {bar.label for bar in row.lanes[Lane.ANNOUNCEMENT]} == {"a spoken sentence"}


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "call.png"
    draw(a_scene(), file, "A call")

    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert int.from_bytes(head[16:20]) == 1_200


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotMissingError, match="plot"):
        draw(a_scene(), tmp_path / "call.png")
