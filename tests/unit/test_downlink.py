"""What a caller hears, over a player that plays as Twilio's does: in order, in real time, and cleared when told so."""

import json
from base64 import b64decode
from collections import deque

import numpy as np
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.live_call.mixing import RATE_HZ, BedRules, MusicBed
from daemon.voice.downlink import Downlink
from daemon.voice.frames import FrameWriter
from daemon.voice.playout import Playout
from daemon.voice.uplink import FRAME_BYTES, PIECE_MAX_BYTES, Uplink

QUIET = 0xFF


class SilentBed(MusicBed):
    """Music of silence: the voice comes out of it byte for byte, so that what was heard can be compared.

    It fades out within 0.3 s. Voice has no byte of silence in these tests.
    """

    def __init__(self) -> None:
        rules = BedRules(level=0.0, ducked_level=0.0, fade_s=0.3, duck_s=0.1, release_s=0.1)
        super().__init__(np.zeros(100, np.int16), rules)


@define(eq=False)
class Caller:
    """Twilio's player and the ear behind it; `now_s` is moved by hand, sample by sample exactly.

    Attributes:
        played: what was heard.
        waiting: what will be, marks in their places.
        heard: marks that have come back, each with how much voice had been heard by then.
        last: those behind which nothing was said.
    """

    now: int = 0
    played: bytearray = field(factory=bytearray)
    waiting: deque[bytes | str] = field(factory=deque)
    frames: list[str] = field(factory=list)
    heard: list[tuple[str, int]] = field(factory=list)
    last: list[str] = field(factory=list)
    cleared: int = 0
    lost_marks: bool = False
    downlink: Downlink = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.downlink = Downlink(
            writer=FrameWriter("MZ1"),
            send=self.take,
            clear=self.take,
            heard=self._hear,
            make_bed=SilentBed,
            voice_max_s=60.0,
            mark_patience_s=2.0,
        )

    @property
    def now_s(self) -> float:
        return self.now / RATE_HZ

    @property
    def voice(self) -> bytes:
        return bytes(self.played).replace(bytes([QUIET]), b"")

    @property
    def waits(self) -> int:
        return sum(len(item) for item in self.waiting if isinstance(item, bytes))

    def _hear(self, name: str, is_all: bool) -> None:  # noqa: FBT001 -- as the downlink tells it
        self.heard.append((name, len(self.voice)))
        if is_all:
            self.last.append(name)

    def take(self, text: str) -> None:
        frame = json.loads(text)
        assert frame["streamSid"] == "MZ1"
        if frame["event"] == "media":
            self.waiting.append(b64decode(frame["media"]["payload"], validate=True))
        elif frame["event"] == "mark":
            self.waiting.append(frame["mark"]["name"])
        else:
            self.cleared += 1
            marks = [item for item in self.waiting if isinstance(item, str)]
            self.waiting.clear()
            self.waiting.extend(marks)

    def go_on(self, samples: int) -> None:
        """Let time pass; what is due to be done is done in time."""
        for _ in range(samples):
            self.give_back()
            if self.now_s >= self.downlink.due_s:
                self.downlink.keep_time(self.now_s)
            self._play_one()
            self.now += 1
        self.give_back()

    def sleep(self, samples: int) -> None:
        """Let time pass while the daemon does nothing."""
        for _ in range(samples):
            self._play_one()
            self.now += 1

    def give_back(self) -> None:
        while self.waiting and isinstance(self.waiting[0], str):
            name = str(self.waiting.popleft())
            if not self.lost_marks:
                self.downlink.came_back(name)

    def _play_one(self) -> None:
        while self.waiting and not (isinstance(self.waiting[0], bytes) and self.waiting[0]):
            item = self.waiting.popleft()
            if isinstance(item, str) and not self.lost_marks:
                self.downlink.came_back(item)
        if self.waiting:
            item = self.waiting[0]
            assert isinstance(item, bytes)
            self.played.append(item[0])
            self.waiting[0] = item[1:]
        else:
            self.played.append(QUIET)

    def say(self, audio: bytes) -> None:
        self.downlink.say(audio, self.now_s)

    def music(self, *, on: bool) -> None:
        self.downlink.music(self.now_s, on=on)

    def mark(self, name: str) -> None:
        self.downlink.mark(name, self.now_s)
        self.give_back()

    def interrupt(self) -> None:
        self.downlink.interrupt(self.now_s)
        self.give_back()


def speech(length: int, begin: int = 0) -> bytes:
    """Voice in which every place can be told from its neighbours. All of its bytes come through the music's tables as
    they are.
    """
    return bytes((begin + place) % 101 for place in range(length))


def test_without_music_what_is_said_goes_on_at_once_and_untouched() -> None:
    caller = Caller()
    caller.say(speech(3_000))
    caller.say(speech(500, 7))

    assert list(caller.waiting) == [speech(3_000), speech(500, 7)]
    caller.go_on(3_500)
    assert caller.played == speech(3_000) + speech(500, 7)
    assert caller.downlink.due_s == float("inf")


def test_an_interruption_clears_what_is_still_to_be_heard_and_only_that() -> None:
    caller = Caller()
    caller.interrupt()
    assert caller.cleared == 0
    caller.say(speech(800))
    caller.go_on(300)
    caller.interrupt()
    caller.say(speech(100, 9))
    caller.go_on(1_000)
    caller.interrupt()

    assert caller.cleared == 1
    assert caller.voice == speech(300) + speech(100, 9)


def test_a_mark_is_heard_after_all_that_was_said_before_it() -> None:
    caller = Caller()
    caller.mark("nothing said")
    assert caller.heard == [("nothing said", 0)]
    caller.say(speech(800))
    caller.mark("said")
    caller.say(speech(800))
    caller.go_on(2_000)

    assert caller.heard == [("nothing said", 0), ("said", 800)]


@pytest.mark.parametrize("has_music", [False, True])
def test_a_mark_tells_whether_more_was_said_behind_it(*, has_music: bool) -> None:
    caller = Caller()
    caller.music(on=has_music)
    caller.say(speech(800))
    caller.mark("first")
    caller.say(speech(800))
    caller.mark("second")
    caller.mark("third")
    if not has_music:
        # What waits is taken back, and keeps what was known of it.
        caller.music(on=True)
    caller.go_on(6_000)
    caller.say(speech(800))

    assert [name for name, _ in caller.heard] == ["first", "second", "third"]
    assert caller.last == ["second", "third"]


def test_what_the_person_spoke_over_counts_as_heard() -> None:
    caller = Caller()
    caller.say(speech(8_000))
    caller.mark("said")
    caller.go_on(100)
    caller.interrupt()

    assert caller.heard == [("said", 100)]


@pytest.mark.parametrize("interrupts", [False, True])
def test_a_mark_that_never_comes_back_is_heard_by_our_own_clock(*, interrupts: bool) -> None:
    caller = Caller(lost_marks=True)
    caller.say(speech(8_000))
    caller.mark("said")
    caller.go_on(100)
    if interrupts:
        caller.interrupt()
    caller.go_on(16_000 + (0 if interrupts else 7_900) - 10)
    assert caller.heard == []
    caller.go_on(20)
    assert [name for name, _ in caller.heard] == ["said"]


def test_more_than_anybody_listens_to_is_dropped() -> None:
    caller = Caller()
    for _ in range(70):
        caller.say(speech(RATE_HZ))

    assert caller.waits == 61 * RATE_HZ
    assert caller.downlink.dropped_bytes == 9 * RATE_HZ


def test_music_takes_back_what_was_not_heard_and_plays_it_on_time() -> None:
    caller = Caller()
    caller.say(speech(8_000))
    caller.mark("said")
    caller.go_on(1_234)
    caller.music(on=True)
    assert caller.cleared == 1
    assert caller.waits <= 0.25 * RATE_HZ
    caller.go_on(8_000)

    assert bytes(caller.played[:8_000]) == speech(8_000)
    assert [name for name, _ in caller.heard] == ["said"]
    assert caller.heard[0][1] == 8_000


def test_music_alone_takes_nothing_back() -> None:
    caller = Caller()
    caller.music(on=True)
    caller.go_on(4_000)

    assert caller.cleared == 0
    assert len(caller.waiting) == 3
    assert 0.15 * RATE_HZ <= caller.waits <= 0.25 * RATE_HZ


def test_an_interruption_under_music_drops_the_voice_and_not_the_music() -> None:
    caller = Caller()
    caller.music(on=True)
    caller.say(speech(8_000))
    caller.mark("said")
    caller.go_on(2_000)
    caller.interrupt()
    caller.go_on(4_000)

    assert caller.cleared == 0
    assert caller.voice == speech(len(caller.voice))
    assert abs(len(caller.voice) - 2_000) <= 0.25 * RATE_HZ
    assert [name for name, _ in caller.heard] == ["said"]


def test_after_the_music_the_voice_goes_on_at_once_without_gap_or_repetition() -> None:
    caller = Caller()
    caller.music(on=True)
    caller.go_on(3_000)
    caller.say(speech(40_000))
    caller.mark("said")
    caller.go_on(3_000)
    caller.music(on=False)
    caller.music(on=False)
    caller.go_on(3_000)
    assert caller.waits > 20_000  # it has all gone
    caller.say(speech(1_000, 9))
    caller.go_on(40_000)

    begin = bytes(caller.played).index(speech(1_000))
    assert bytes(caller.played[begin : begin + 41_000]) == speech(40_000) + speech(1_000, 9)
    assert caller.heard == [("said", 40_000)]


def test_a_stall_is_not_made_up_for() -> None:
    caller = Caller()
    caller.music(on=True)
    caller.say(speech(80_000))
    caller.go_on(1_000)
    frames = len(caller.waiting)
    caller.sleep(40_000)
    caller.go_on(1)

    assert caller.waits <= 0.25 * RATE_HZ
    assert len(caller.waiting) <= frames
    caller.go_on(80_000)
    assert caller.voice == speech(80_000)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 3_000)),
        st.tuples(st.just("go on"), st.integers(0, 2_000)),
        st.tuples(st.just("sleep"), st.integers(0, 2_000)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("music"), st.integers(0, 1)),
        st.tuples(st.just("interrupt"), st.just(0)),
    ),
    max_size=12,
)


@given(MOVES)
def test_whatever_happens_nothing_is_lost_said_twice_or_told_too_early(moves: list[tuple[str, int]]) -> None:
    """Without an interruption all that was said is heard, in order, and marks come when what they stand behind was."""
    caller, said, marks = Caller(), b"", dict[str, int]()
    for what, amount in moves:
        if what == "say":
            caller.say(speech(amount, len(said)))
            said += speech(amount, len(said))
        elif what == "go on":
            caller.go_on(amount)
        elif what == "sleep":
            caller.sleep(amount)
        elif what == "mark":
            marks[str(len(marks))] = len(said)
            caller.mark(str(len(marks) - 1))
        elif what == "music":
            caller.music(on=bool(amount))
    caller.go_on(len(said) + 4_000)

    assert caller.voice == said
    assert [name for name, _ in caller.heard] == list(marks)
    assert all(after >= marks[name] for name, after in caller.heard)


@given(MOVES)
def test_whatever_happens_what_is_heard_is_what_was_said_with_cuts(moves: list[tuple[str, int]]) -> None:
    """With interruptions too: pieces of what was said, in order; every mark comes once, and the end is heard."""
    caller, said, marks = Caller(), b"", 0
    for what, amount in moves:
        if what == "say":
            caller.say(bytes([len(said) % 101]) * amount)
            said += bytes([len(said) % 101]) * amount
        elif what == "go on":
            caller.go_on(amount)
        elif what == "sleep":
            caller.sleep(amount)
        elif what == "mark":
            caller.mark(str(marks))
            marks += 1
        elif what == "music":
            caller.music(on=bool(amount))
        else:
            caller.interrupt()
        assert not caller.downlink._is_mixing or caller.waits <= 0.25 * RATE_HZ
    caller.go_on(len(said) + 4_000)

    left = iter(said)
    assert all(byte in left for byte in caller.voice)
    assert sorted(int(name) for name, _ in caller.heard) == list(range(marks))


# --- The parts of it ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=400)), max_size=12), st.integers(0, 3_000))
def test_what_is_taken_back_is_what_was_not_played(pieces: list[tuple[int, bytes]], more: int) -> None:
    playout, now, told = Playout(), 0, bytearray()
    for pause, audio in pieces:
        now += pause
        while len(told) < now:
            told.append(0)
        playout.feed(audio, now / RATE_HZ)
        told += audio
    now += more

    assert playout.take_back(now / RATE_HZ) == bytes(told[now:])
    assert playout.waits_s(now / RATE_HZ) == 0
    assert playout.take_back(now / RATE_HZ) == b""


@given(
    join=st.integers(1, 5),
    frames=st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.booleans()), max_size=60),
)
def test_the_callers_voice_is_joined_and_nothing_of_it_lost(
    join: int, frames: list[tuple[bytes, bool]]
) -> None:
    uplink, said, sent = Uplink(join, 1.0), b"", b""
    for frame, is_taken in frames:
        said += frame
        ready = uplink.put(frame)
        if is_taken and ready:
            while (piece := uplink.get()) is not None:
                assert join * FRAME_BYTES <= len(piece) + max(0, join * FRAME_BYTES - PIECE_MAX_BYTES + 200)
                assert len(piece) <= PIECE_MAX_BYTES
                sent += piece
    while (piece := uplink.get()) is not None:
        sent += piece

    if not uplink.dropped_bytes:
        assert said.startswith(sent)
        assert len(said) - len(sent) < join * FRAME_BYTES + 200
    else:
        assert uplink.dropped_bytes == len(said) - len(sent) - uplink._bytes


@pytest.mark.parametrize("join", [1, 2, 3, 5])
def test_frames_of_twilios_go_in_pieces_of_so_many(join: int) -> None:
    uplink, pieces = Uplink(join, 1.0), list[bytes]()
    for number in range(30):
        if uplink.put(bytes([number]) * FRAME_BYTES):
            pieces.append(uplink.get() or b"")

    assert pieces == [
        b"".join(bytes([number]) * FRAME_BYTES for number in range(first, first + join))
        for first in range(0, 30, join)
    ]


def test_what_came_together_goes_together() -> None:
    uplink = Uplink(1, 1.0)
    for _ in range(7):
        uplink.put(b"\x01" * FRAME_BYTES)

    assert [len(uplink.get() or b"") for _ in range(3)] == [800, 320, 0]


def test_who_falls_behind_misses_the_oldest() -> None:
    uplink = Uplink(2, 1.0)
    for number in range(80):
        uplink.put(bytes([number]) * FRAME_BYTES)

    assert uplink.dropped_bytes == 30 * FRAME_BYTES
    assert (uplink.get() or b"")[0] == 30
