"""When a turn begins, whenever its messages come; and the agent's answer, whatever order its events come in."""

from collections.abc import Sequence
from itertools import accumulate
from random import Random

from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from actors.agent_events import (
    AgentEvent,
    AgentReplied,
    PartKind,
    ReplyCompleted,
    ReplyCorrected,
    ReplyPart,
    ToolCalled,
    ToolFinished,
    ToolStarted,
)
from actors.conversation.turn import LLM_TIMEOUT_S, AnswerCollector, CoalescingRules, Gathering

SETTLE_S = 1.0
LONG_S = LLM_TIMEOUT_S + SETTLE_S

ids = st.none() | st.integers(-1, 12)
call_ids = st.sampled_from(["t1", "t2"])
tool_names = st.sampled_from(["search", "end_call", "skip_turn"])


def text_of(event_id: int) -> str:
    return f"reply {event_id}."


@st.composite
def replies(draw: st.DrawFn) -> AgentEvent:
    event_id = draw(st.integers(-1, 12))
    return AgentReplied(text=draw(st.sampled_from([text_of(event_id), " "])), event_id=event_id)


@st.composite
def parts(draw: st.DrawFn) -> AgentEvent:
    event_id = draw(st.integers(-1, 12))
    kind = draw(st.sampled_from(PartKind))
    return ReplyPart(kind=kind, text=text_of(event_id) if kind is PartKind.START else "", event_id=event_id)


nameless = st.one_of(
    st.builds(AgentReplied, text=st.text(max_size=3), event_id=st.none()),
    st.builds(ReplyPart, kind=st.sampled_from(PartKind), text=st.text(max_size=3), event_id=st.none()),
)
others = st.one_of(
    st.builds(ReplyCompleted, event_id=ids),
    st.builds(ReplyCorrected, corrected=st.text(max_size=3), event_id=ids),
    st.builds(
        ToolCalled,
        name=tool_names,
        call_id=call_ids,
        parameters=st.just({}),
        expects_response=st.booleans(),
        event_id=ids,
    ),
    st.builds(ToolStarted, name=tool_names, call_id=call_ids, event_id=ids),
    st.builds(ToolFinished, name=tool_names, call_id=call_ids, is_error=st.booleans(), event_id=ids),
)
any_events = st.lists(st.one_of(replies(), parts(), nameless, others), max_size=25)
named_events = st.lists(st.one_of(replies(), parts(), others), max_size=25)
pauses = st.sampled_from([0.0, 0.1, SETTLE_S, LONG_S])


def collector_after(events: Sequence[AgentEvent], *, after_event_id: int = -1) -> AnswerCollector:
    collector = AnswerCollector(settle_s=SETTLE_S, after_event_id=after_event_id)
    for second, event in enumerate(events):
        collector.feed(event, float(second))
    return collector


@given(any_events, ids, st.lists(call_ids, max_size=2))
def test_whatever_comes_is_taken(
    events: Sequence[AgentEvent], after_event_id: int | None, answered: Sequence[str]
) -> None:
    collector = collector_after(events, after_event_id=after_event_id or -1)
    for call_id in answered:
        collector.tool_answered(call_id)

    assert all(paragraph.strip() for paragraph in collector.paragraphs)
    settles_at = collector.settles_at
    if settles_at is not None:
        assert settles_at <= len(events) - 1 + LLM_TIMEOUT_S or not events
        assert collector.is_complete(settles_at)


@given(named_events)
@example(
    [
        AgentReplied(text=text_of(0), event_id=0),
        ToolFinished(name="skip_turn", call_id="t1", is_error=False, event_id=0),
        AgentReplied(text=text_of(0), event_id=0),
    ]
)
def test_no_text_is_said_twice(events: Sequence[AgentEvent]) -> None:
    paragraphs = collector_after(events).paragraphs

    assert len(set(paragraphs)) == len(paragraphs)


@given(named_events, st.integers(0, 12))
def test_nothing_of_an_earlier_turn_is_said_again(events: Sequence[AgentEvent], after_event_id: int) -> None:
    paragraphs = collector_after(events, after_event_id=after_event_id).paragraphs

    assert not {text_of(event_id) for event_id in range(-1, after_event_id + 1)} & set(paragraphs)


@given(any_events, any_events)
def test_an_answer_that_the_agent_has_ended_stays_complete_once_it_is(
    events: Sequence[AgentEvent], later: Sequence[AgentEvent]
) -> None:
    collector = collector_after(
        [*events, ToolFinished(name="end_call", call_id="end", is_error=False, event_id=None)]
    )
    was_complete = collector.is_complete(0.0)

    for event in later:
        collector.feed(event, 0.0)
        is_complete = collector.is_complete(0.0)
        assert is_complete or not was_complete
        was_complete = is_complete


@given(any_events, st.lists(pauses, min_size=2, max_size=5))
def test_an_answer_that_is_complete_stays_so_while_nothing_is_heard(
    events: Sequence[AgentEvent], waits: Sequence[float]
) -> None:
    collector = collector_after(events)
    now, was_complete = float(len(events)), False
    for wait_s in waits:
        now += wait_s
        is_complete = collector.is_complete(now)
        assert is_complete or not was_complete
        was_complete = is_complete


@given(
    tools=st.lists(st.sampled_from(["", "client", "server"]), max_size=3),
    form=st.sampled_from(["parts", "final", "both"]),
    has_ids=st.booleans(),
    has_completion=st.booleans(),
)
def test_replies_around_tools_make_one_answer_in_order(
    *, tools: Sequence[str], form: str, has_ids: bool, has_completion: bool
) -> None:
    collector = AnswerCollector(settle_s=SETTLE_S)
    now, expected = 0.0, []
    for place, tool in enumerate([*tools, ""]):
        event_id = 10 * place if has_ids else None
        expected.append(f"reply {place}.")
        for event in _reply(f"reply {place}.", form, event_id):
            now += 0.2
            assert not collector.is_complete(now)
            collector.feed(event, now)
        if tool:
            for event in _tool(tool, f"t{place}", None if event_id is None else event_id + 1):
                now += 0.2
                collector.feed(event, now)
                collector.tool_answered(f"t{place}")
            now += LLM_TIMEOUT_S / 2
            assert not collector.is_complete(now)
    if has_completion:
        collector.feed(ReplyCompleted(event_id=None), now)

    assert collector.paragraphs == expected
    assert collector.is_complete(now) == has_completion
    assert collector.is_complete(now + SETTLE_S)


def _reply(text: str, form: str, event_id: int | None) -> list[AgentEvent]:
    streamed: list[AgentEvent] = [
        ReplyPart(kind=PartKind.START, text="", event_id=event_id),
        *(ReplyPart(kind=PartKind.DELTA, text=letter, event_id=event_id) for letter in text),
        ReplyPart(kind=PartKind.STOP, text="", event_id=event_id),
    ]
    final: list[AgentEvent] = [AgentReplied(text=text, event_id=event_id)]
    return {"parts": streamed, "final": final, "both": streamed + final}[form]


def _tool(kind: str, call_id: str, event_id: int | None) -> list[AgentEvent]:
    finished = ToolFinished(name="search", call_id=call_id, is_error=False, event_id=event_id)
    if kind == "server":
        return [ToolStarted(name="search", call_id=call_id, event_id=event_id), finished]
    called = ToolCalled(
        name="search", call_id=call_id, parameters={}, expects_response=True, event_id=event_id
    )
    return [called, finished]


# --- A model of the answer ------------------------------------------------------------------------------

chunks = st.lists(st.text("abñ \n.", max_size=4), min_size=1, max_size=4)


@frozen
class Said:
    """One reply as the agent means it: streamed, as a whole, or both; `times` the whole of it is told."""

    text: str
    chunks: Sequence[str]
    times: int
    is_corrected: bool

    def events(self, event_id: int) -> list[list[AgentEvent]]:
        """Its streams; within each the order is kept, between them there is none."""
        streams: list[list[AgentEvent]] = [[AgentReplied(text=self.text, event_id=event_id)] * self.times]
        if not self.times or self.chunks:
            streams.append(
                [
                    ReplyPart(kind=PartKind.START, text="", event_id=event_id),
                    *(ReplyPart(kind=PartKind.DELTA, text=chunk, event_id=event_id) for chunk in self.chunks),
                    ReplyPart(kind=PartKind.STOP, text="", event_id=event_id),
                ]
            )
        if self.is_corrected:
            streams.append([ReplyCorrected(corrected=self.text[:1], event_id=event_id)])
        return streams


@st.composite
def replies_said(draw: st.DrawFn) -> Said:
    pieces = draw(chunks)
    times = draw(st.integers(0, 2))
    streamed = pieces if not times or draw(st.booleans()) else []
    return Said("".join(pieces), streamed, times, draw(st.booleans()))


@given(
    said=st.lists(replies_said(), min_size=1, max_size=4),
    tools=st.lists(st.sampled_from(["client", "server"]), max_size=2),
    random=st.randoms(use_true_random=False),
)
def test_an_answer_is_what_was_said_however_its_streams_mingle(
    said: Sequence[Said], tools: Sequence[str], random: Random
) -> None:
    streams = [stream for place, reply in enumerate(said) for stream in reply.events(10 * place)]
    streams += [_tool(tool, f"t{place}", 10 * place + 5) for place, tool in enumerate(tools)]
    begun = dict[int, str]()  # in the order of the first word
    collector, now = AnswerCollector(settle_s=SETTLE_S), 0.0
    while streams := [stream for stream in streams if stream]:
        event = random.choice(streams).pop(0)
        if isinstance(event, AgentReplied | ReplyPart) and event.event_id is not None:
            begun.setdefault(event.event_id, said[event.event_id // 10].text.strip())
        now += 0.1
        collector.feed(event, now)

    assert collector.paragraphs == [text for text in begun.values() if text]
    assert collector.is_complete(now + LONG_S)
    collector.feed(ReplyCompleted(event_id=None), now)
    assert collector.is_complete(now)


# --- When a turn begins ---------------------------------------------------------------------------------


@given(
    pauses_s=st.lists(st.floats(0, 20), max_size=30),
    quiet_s=st.floats(0, 5),
    longer_s=st.floats(0, 10),
    start=st.floats(0, 1e6),
)
def test_a_turn_begins_after_quiet_or_when_it_has_waited_long_enough(
    pauses_s: Sequence[float], quiet_s: float, longer_s: float, start: float
) -> None:
    rules = CoalescingRules(quiet_s=quiet_s, max_s=quiet_s + longer_s)
    arrivals = list(accumulate(pauses_s, initial=start))
    gathering, mine, gathered = Gathering.begin(start), [start], list[float]()
    for arrival in arrivals[1:]:
        if arrival <= gathering.over_at(rules):
            gathering, mine = gathering.another(arrival), [*mine, arrival]
            continue
        _began_in_time(gathering.over_at(rules), mine, rules)
        gathered += mine
        gathering, mine = Gathering.begin(arrival), [arrival]
    _began_in_time(gathering.over_at(rules), mine, rules)

    assert gathered + mine == arrivals


def _began_in_time(begins: float, arrivals: Sequence[float], rules: CoalescingRules) -> None:
    first, last = arrivals[0], arrivals[-1]
    assert last <= begins <= first + rules.max_s
    assert begins == last + rules.quiet_s or begins == first + rules.max_s < last + rules.quiet_s
