"""The simulated agent hears the sound that is streamed to it: turns, interruptions, and how they go wrong."""

import math
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from daemon.lab.elevenlabs.known_faults import VOICE_FAULTS
from daemon.lab.elevenlabs.session import SocketTiming
from daemon.lab.twilio.voice.mulaw import voice
from tests.contract.lab_elevenlabs import ADVISOR_TOOL, agent_body
from tests.contract.lab_voice_session import VOICE_EVENTS, Receiver, on_the_phone

QUESTION = "cuénteme todo sobre el producto"
TOLERANCE_S = 0.03


def agent_with(**tool: object) -> dict[str, object]:
    body = agent_body(text_only=False, client_events=VOICE_EVENTS)
    body["conversation_config"]["agent"]["prompt"]["tools"] = [{**ADVISOR_TOOL, **tool}]
    return body


async def answer_tools(phone: Receiver, result: str = "ok") -> None:
    """Give every call of a tool its result, until cancelled."""
    answered: set[str] = set()

    def waiting() -> list[str]:
        calls = [one.frame["client_tool_call"]["tool_call_id"] for one in phone.all("client_tool_call")]
        return [call_id for call_id in calls if call_id not in answered]

    while True:
        await phone.lab.books.until(waiting)
        for call_id in waiting():
            answered.add(call_id)
            answer = {"tool_call_id": call_id, "result": result, "is_error": False}
            await phone.send({"type": "client_tool_result", **answer})


async def test_speech_is_understood_and_answered_when_it_is_over(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        await phone.be_silent(1.0)
        await phone.say("hola", 2.0, silence_s=0.28)
        assert phone.seen == []
        await phone.be_silent(0.1)
        [transcript] = phone.all("user_transcript")

    assert phone.transcripts() == ["hola"]
    assert transcript.at_s == pytest.approx(1.0 + 2.0 + 0.3, abs=TOLERANCE_S)
    assert phone.types() == ["user_transcript", "agent_response", "audio", "agent_response_complete"]


async def test_sound_without_words_is_no_turn(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        await phone.stream(voice(2.0, 200))
        await phone.be_silent(1.0)

    assert phone.seen == []


async def test_a_caller_who_speaks_over_the_agent_interrupts_before_he_has_finished(
    autojump_clock: MockClock,
) -> None:
    async with on_the_phone() as phone:
        await phone.say(QUESTION, 1.0)
        began_s = phone.now_s
        await phone.say("espere un momento", 2.0)
        [interruption], [correction] = phone.all("interruption"), phone.all("agent_response_correction")
        second = phone.all("user_transcript")[1]
        audio = phone.all("audio")

    assert interruption.at_s == pytest.approx(began_s + 0.3, abs=TOLERANCE_S)
    assert second.at_s == pytest.approx(began_s + 2.3, abs=TOLERANCE_S)
    event = interruption.frame["interruption_event"]["event_id"]
    assert event == audio[0].frame["audio_event"]["event_id"]
    assert audio[-1].frame["audio_event"]["event_id"] > event
    corrected = correction.frame["agent_response_correction_event"]
    assert corrected["original_agent_response"].startswith(corrected["corrected_agent_response"][:-1])
    [entry] = [it for it in phone.session.conversation.transcript if it["interrupted"]]
    assert entry["message"] == corrected["corrected_agent_response"]


async def test_who_speaks_while_the_agent_is_silent_interrupts_nobody(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        await phone.say("hola")
        await phone.be_silent(20.0)
        await phone.say("gracias")

    assert phone.all("interruption") == []
    assert phone.transcripts() == ["hola", "gracias"]


async def test_replies_that_wait_for_each_other_are_interrupted_together(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone, trio.open_nursery() as nursery:
        nursery.start_soon(answer_tools, phone)
        phone.fault("tool_between_replies")
        await phone.say(QUESTION, 1.0)
        first, second = phone.session.conversation.voiced
        assert second.start_s == first.end_s
        await phone.say("espere", 1.0)
        nursery.cancel_scope.cancel()

    assert len(phone.all("interruption")) == 1
    assert len(phone.all("agent_response_correction")) == 2
    last = phone.all("interruption")[0].frame["interruption_event"]["event_id"]
    assert last == second.event_id > first.event_id


async def test_the_world_is_told_what_the_agent_says_as_it_is_heard(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        told: list[tuple[str, float]] = []
        phone.lab.world.on_agent_speaks = lambda text: told.append((f"speaks {text[:4]}", phone.now_s))
        phone.lab.world.on_agent_said = lambda text: told.append((f"said {text[:4]}", phone.now_s))
        await phone.say("hola", 1.0)
        await phone.be_silent(10.0)
        await phone.say(QUESTION, 1.0)
        await phone.say("espere", 1.0)

    [voiced, cut, _] = phone.session.conversation.voiced
    assert [name for name, _ in told] == ["speaks ¡Hol", "said ¡Hol", "speaks Enti", "speaks Enti"]
    assert told[1][1] - told[0][1] == pytest.approx(voiced.end_s - voiced.start_s)
    assert (voiced.is_cut, cut.is_cut) == (False, True)


async def test_an_agent_of_another_format_understands_nothing(autojump_clock: MockClock) -> None:
    body = agent_body(text_only=False)
    body["conversation_config"]["asr"]["user_input_audio_format"] = "pcm_16000"
    async with on_the_phone(agent=body) as phone:
        await phone.say("hola")

    assert phone.seen == []


async def test_audio_that_is_no_base64_ends_the_session(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        await phone.send({"user_audio_chunk": "¡hola!"})
        await trio.testing.wait_all_tasks_blocked()

    assert phone.session.ending is not None
    assert phone.session.ending.code == 1008


async def test_the_books_keep_the_sound_and_not_all_of_its_frames(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        await phone.be_silent(20.0)
        await phone.send({"type": "user_activity"})
        await trio.testing.wait_all_tasks_blocked()
        conversation = phone.session.conversation

    assert len(conversation.heard) == 20 * 8_000
    assert len(conversation.frames) == 501
    assert conversation.frames[-1].content == {"type": "user_activity"}


async def test_a_tool_waits_for_the_agents_sentence_where_its_settings_say_so(
    autojump_clock: MockClock,
) -> None:
    async with on_the_phone(agent=agent_with(execution_mode="post_tool_speech")) as phone:
        await phone.say("un asesor")
        await phone.be_silent(5.0)
        [first], [call] = phone.session.conversation.voiced, phone.all("client_tool_call")

    assert call.at_s == pytest.approx(first.end_s - phone.session.started_at)


async def test_a_tool_can_be_kept_from_interruptions(autojump_clock: MockClock) -> None:
    agent = agent_with(interruption_mode="disable_during_tool")
    async with on_the_phone(agent=agent) as phone, trio.open_nursery() as nursery:
        await phone.say("un asesor")
        await phone.say("espere", 1.0)
        assert phone.all("interruption") == []
        nursery.start_soon(answer_tools, phone)
        await phone.be_silent(0.5)
        nursery.cancel_scope.cancel()

    assert [result.is_error for result in phone.session.context.tool_results] == [False]
    assert phone.types().index("agent_tool_response") < phone.types().index("interruption")
    assert phone.transcripts()[-1] == "espere"


# --- faults


async def test_a_late_interruption_comes_when_the_caller_has_long_been_speaking(
    autojump_clock: MockClock,
) -> None:
    async with on_the_phone() as phone:
        phone.fault("interruption_late", seconds=1.2)
        await phone.say(QUESTION, 1.0)
        began_s = phone.now_s
        await phone.say("espere", 2.0)

    [interruption] = phone.all("interruption")
    assert interruption.at_s == pytest.approx(began_s + 1.5, abs=TOLERANCE_S)


async def test_speech_can_go_unheard(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        phone.fault("speech_unheard")
        await phone.say("hola")
        assert phone.seen == []
        await phone.say("hola")

    assert phone.transcripts() == ["hola"]


async def test_a_transcript_can_fail_to_come(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        phone.fault("transcript_never")
        await phone.say("hola")

    assert phone.types() == ["agent_response", "audio", "agent_response_complete"]


@pytest.mark.parametrize(("fault", "share"), [("audio_never", 0.0), ("audio_stops", 0.5), ("audio_odd", 1.0)])
async def test_the_agents_sound_suffers(autojump_clock: MockClock, fault: str, share: float) -> None:
    async with on_the_phone() as phone:
        phone.fault(fault)
        await phone.say(QUESTION)
        sound = phone.audio()
        length = round(len(phone.texts()[0]) / 15 * 8_000)

    assert sum(map(len, sound)) == pytest.approx(length * share, abs=2)
    assert phone.types()[-1] == "agent_response_complete"
    if fault == "audio_odd":
        assert len(sound[0]) == 2
        assert any(len(piece) % 160 for piece in sound)
    elif share:
        assert phone.session.playback.until_s == phone.session.conversation.voiced[0].end_s


async def test_the_agents_sound_can_come_too_slowly(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        phone.fault("audio_slow", seconds=2.0)
        await phone.say(QUESTION, silence_s=20.0)
        times = [one.at_s for one in phone.all("audio")]
        [voiced] = phone.session.conversation.voiced

    assert all(after - before == pytest.approx(2.0) for before, after in pairwise(times))
    assert voiced.end_s - voiced.start_s > len(voiced.text) / 15
    assert len(times) == math.ceil(len(voiced.text) / 15)


async def test_a_slow_reply_can_be_interrupted_between_its_pieces(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        phone.fault("audio_slow", seconds=2.0)
        await phone.say(QUESTION, 1.0)
        sent = len(phone.all("audio"))
        await phone.say("espere", 1.0)

    assert len(phone.all("interruption")) == 1
    first = phone.all("audio")[0].frame["audio_event"]["event_id"]
    assert sum(one.frame["audio_event"]["event_id"] == first for one in phone.all("audio")) == sent


async def test_a_tool_can_be_called_twice(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone, trio.open_nursery() as nursery:
        nursery.start_soon(answer_tools, phone)
        phone.fault("tool_called_twice")
        await phone.say("un asesor")
        nursery.cancel_scope.cancel()

    first, second = (one.frame["client_tool_call"] for one in phone.all("client_tool_call"))
    assert first["tool_call_id"] != second["tool_call_id"]
    assert first["parameters"] == second["parameters"]
    assert len(phone.all("agent_tool_response")) == 2
    assert len(phone.texts()) == 2


async def test_a_session_can_break_off_in_the_middle_of_its_sound(autojump_clock: MockClock) -> None:
    async with on_the_phone() as phone:
        phone.fault("crash_mid_answer")
        await phone.say(QUESTION)
        assert phone.session.ending is not None
        assert phone.session.ending.code == 1011

    assert len(phone.all("audio")) == 1


SHOWN_ELSEWHERE = {"wrong_formats"}


def test_every_fault_of_the_voice_is_shown() -> None:
    shown = {
        "audio_never",
        "audio_stops",
        "audio_odd",
        "audio_slow",
        "interruption_late",
        "speech_unheard",
        "transcript_never",
        "tool_called_twice",
    }
    assert shown | SHOWN_ELSEWHERE == set(VOICE_FAULTS)
    assert SocketTiming().barge_in_s == SocketTiming().end_of_turn_s == 0.3
