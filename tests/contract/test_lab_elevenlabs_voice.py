"""Agent sessions with audio."""

import base64

from tests.contract.lab_elevenlabs import ServedLab, agent_body, served_lab


async def speak(served: ServedLab, conversation_id: str, text: str) -> None:
    async with served.client() as client:
        answer = await client.post(f"/lab/conversations/{conversation_id}/hear", json={"text": text})
    assert answer.status_code == 200


async def test_a_caller_who_speaks_is_transcribed_and_answered_in_audio() -> None:
    async with served_lab(agent=agent_body(text_only=False)) as served, served.talk() as talk:
        conversation_id = await talk.initiate()
        await talk.send({"user_audio_chunk": base64.b64encode(bytes(160)).decode()})
        await speak(served, conversation_id, "hola #1")
        transcript = await talk.until("user_transcript")
        await talk.until("agent_response_complete")
        audio = [frame["audio_event"] for frame in talk.frames if frame["type"] == "audio"]

        assert transcript["user_transcription_event"]["user_transcript"] == "hola #1"
        assert sum(len(base64.b64decode(event["audio_base_64"])) for event in audio) > 8000
        assert (
            talk.frames[0]["conversation_initiation_metadata_event"]["agent_output_audio_format"]
            == "ulaw_8000"
        )


async def test_a_caller_who_speaks_over_the_audio_interrupts_it() -> None:
    async with served_lab(agent=agent_body(text_only=False)) as served, served.talk() as talk:
        conversation_id = await talk.initiate()
        await speak(served, conversation_id, "cuénteme todo sobre el producto #1")
        await talk.until("agent_response_complete")
        await speak(served, conversation_id, "espere #2")
        interruption = await talk.until("interruption")
        correction = await talk.until("agent_response_correction")

    cut = [frame for frame in talk.frames if frame["type"] == "audio"][-1]["audio_event"]["event_id"]
    assert interruption["interruption_event"]["event_id"] == cut
    assert "#1" in correction["agent_response_correction_event"]["original_agent_response"]


async def test_an_agent_can_be_in_formats_that_no_telephone_speaks() -> None:
    async with served_lab(agent=agent_body(text_only=False)) as served, served.talk() as talk:
        served.fault("wrong_formats")
        conversation_id = await talk.initiate()
        await speak(served, conversation_id, "hola #1")
        first = await talk.until("audio")

    told = talk.frames[0]["conversation_initiation_metadata_event"]
    assert told["agent_output_audio_format"] == told["user_input_audio_format"] == "pcm_16000"
    # A second of it.
    assert len(base64.b64decode(first["audio_event"]["audio_base_64"])) == 32_000
