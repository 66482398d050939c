"""Both simulators together: what a daemon finds there."""

from daemon.lab.serving import LabAccount, open_lab
from daemon.lab.twilio.account import Application, IncomingNumber

PUBLIC = "http://127.0.0.1:3001"


async def test_the_lab_has_the_number_and_the_app_it_tells_a_daemon_of() -> None:
    async with open_lab(public_url=PUBLIC) as lab:
        told = lab.environment()
        number = lab.twilio.account.target(told["TWILIO_NUMBER"])
        app = lab.twilio.account.target(f"app:{told['TWILIO_TWIML_APP_SID']}")

    assert isinstance(number, IncomingNumber)
    assert isinstance(app, Application)
    assert (number.voice_url, number.status_callback) == (
        f"{PUBLIC}/voice/incoming",
        f"{PUBLIC}/voice/status",
    )
    assert app.voice_url == f"{PUBLIC}/voice/agent"
    assert told["RELEVO_TOOL_TOKEN"] == LabAccount().tool_token


async def test_nobody_can_be_called_where_no_daemon_is() -> None:
    async with open_lab(public_url=None) as lab:
        assert lab.twilio.account.target(lab.account.voice_number) is None


async def test_the_voice_agent_speaks_as_telephones_do_and_has_its_tools() -> None:
    async with open_lab(public_url=None) as lab:
        agent = lab.elevenlabs.world.agent(lab.account.voice_agent_id)
        tools = lab.elevenlabs.world.tool_configs(agent)

    assert agent.config["tts"]["agent_output_audio_format"] == "ulaw_8000"
    assert agent.config["asr"]["user_input_audio_format"] == "ulaw_8000"
    assert set(tools) == {"request_advisor", "take_message", "end_call"}
    assert all(tools[name]["expects_response"] for name in ("request_advisor", "take_message"))
