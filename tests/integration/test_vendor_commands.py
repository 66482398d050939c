"""`relevo agent apply` and `relevo check --online` as somebody types them, with both simulators as processes."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field

from tests.integration.relay import ADMIN_TOKEN, Relay
from tests.integration.test_commands import relevo

pytestmark = pytest.mark.processes

PUBLIC = "https://relevo.example.com"


@define
class Terminal:
    """Commands typed with a lab's variables in the environment."""

    relay: Relay
    environment: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.environment |= {
            **self.relay.account.environment(
                elevenlabs_url=f"http://127.0.0.1:{self.relay.elevenlabs_port}",
                twilio_url=f"http://127.0.0.1:{self.relay.twilio_port}",
            ),
            "BASE_PUBLIC_URL": PUBLIC,
            "DATABASE_URL": self.relay.database_url,
            "RELEVO_ADMIN_TOKEN": ADMIN_TOKEN,
        }

    async def type(self, *words: str, without: str = "", **variables: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        environment = {name: value for name, value in self.environment.items() if name != without}
        environment |= variables
        ended = await trio.to_thread.run_sync(
            lambda: relevo(*words, folder=self.relay.folder, environment=environment)
        )
        assert "Traceback" not in ended.stderr
        return ended.returncode, ended.stdout, ended.stderr

    async def elevenlabs(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        url = f"http://127.0.0.1:{self.relay.elevenlabs_port}/v1/convai{path}"
        headers = {"xi-api-key": self.relay.account.api_key}
        response = await self.relay.http.request(method, url, json=body, headers=headers)
        response.raise_for_status()
        return response.json()

    async def twilio(self, method: str, path: str, **form: str) -> Any:
        account = self.relay.account
        url = f"http://127.0.0.1:{self.relay.twilio_port}/2010-04-01/Accounts/{account.account_sid}/{path}"
        response = await self.relay.http.request(
            method, url, data=form, auth=(account.account_sid, account.auth_token)
        )
        response.raise_for_status()
        return response.json()

    async def number(self) -> Any:
        (number,) = (await self.twilio("GET", "IncomingPhoneNumbers.json"))["incoming_phone_numbers"]
        return number


@pytest.fixture
async def terminal(database: str, tmp_path: Path) -> AsyncIterator[Terminal]:
    async with httpx.AsyncClient(timeout=30.0) as http:
        relay = Relay(database_url=database, folder=tmp_path, http=http)
        try:
            await relay.start_lab()
            yield Terminal(relay)
        finally:
            relay.stop()


async def test_apply_says_what_it_would_do_does_it_and_is_then_done(terminal: Terminal) -> None:
    voice = f"/agents/{terminal.relay.account.voice_agent_id}"
    await terminal.elevenlabs(
        "PATCH", voice, {"conversation_config": {"tts": {"agent_output_audio_format": "pcm_16000"}}}
    )
    number = await terminal.number()
    await terminal.twilio(
        "POST", f"IncomingPhoneNumbers/{number['sid']}.json", VoiceUrl="https://central.mx/voz"
    )

    code, output, errors = await terminal.type("agent", "apply", "--dry-run")

    assert code == 1
    assert (
        "conversation_config.tts.agent_output_audio_format\n    from       pcm_16000\n    to         ulaw_8000"
        in output
    )
    assert (
        f"voice_url\n    from       https://central.mx/voz\n    to         {PUBLIC}/voice/incoming" in output
    )
    # Another product's number is not taken over quietly.
    assert "!!! something else is served there now" in output
    assert "to be written" in errors
    assert (await terminal.number())["voice_url"] == "https://central.mx/voz"

    code, output, errors = await terminal.type("agent", "apply")

    assert (code, errors) == (0, "")
    assert "written" in output
    document = await terminal.elevenlabs("GET", voice)
    assert document["conversation_config"]["tts"]["agent_output_audio_format"] == "ulaw_8000"
    number = await terminal.number()
    assert (number["voice_url"], number["voice_method"]) == (f"{PUBLIC}/voice/incoming", "POST")
    assert number["status_callback"] == f"{PUBLIC}/voice/status"
    app = await terminal.twilio("GET", f"Applications/{terminal.relay.account.twiml_app_sid}.json")
    assert (app["voice_url"], app["voice_method"]) == (f"{PUBLIC}/voice/agent", "POST")

    for arguments in (["--dry-run"], []):
        code, output, errors = await terminal.type("agent", "apply", *arguments)
        assert (code, errors) == (0, "")
        assert output.endswith("nothing to write\n")
    # What no program can do is still said.
    assert "by hand to the URL of a TwiML Bin" in output


async def test_what_refuses_is_one_sentence_and_keeps_nothing_else_from_being_done(
    terminal: Terminal,
) -> None:
    code, _, errors = await terminal.type("agent", "apply", ELEVENLABS_API_KEY="otra")

    assert code == 1
    assert "invalid_api_key" in errors
    assert (await terminal.number())["status_callback"] == f"{PUBLIC}/voice/status"

    code, _, errors = await terminal.type("agent", "apply", DEFAULT_AGENT_ID="agent_of_nobody")
    assert (code, "there is no such agent" in errors) == (1, True)


async def test_apply_needs_no_more_than_the_key_and_the_agents(terminal: Terminal) -> None:
    code, output, errors = await terminal.type("agent", "apply", without="TWILIO_AUTH_TOKEN")
    assert (code, errors) == (0, "")
    assert "Twilio's side is left out, since these are not set: TWILIO_AUTH_TOKEN" in output

    code, _, errors = await terminal.type("agent", "apply", without="ELEVENLABS_API_KEY")
    assert (code, "ELEVENLABS_API_KEY" in errors) == (78, True)


async def test_check_online_ends_with_78_until_everything_is_mended(terminal: Terminal) -> None:
    voice = f"/agents/{terminal.relay.account.voice_agent_id}"
    await terminal.elevenlabs(
        "PATCH", voice, {"conversation_config": {"asr": {"user_input_audio_format": "pcm_16000"}}}
    )
    code, output, _ = await terminal.type("check", "--online")

    assert code == 78
    assert "conversation_config.asr.user_input_audio_format is pcm_16000" in output
    assert "the schema lacks" in output

    assert (await terminal.type("agent", "apply"))[0] == 0
    assert (await terminal.type("migrate"))[0] == 0
    code, output, errors = await terminal.type("check", "--online")

    assert (code, errors) == (0, "")
    assert "conversation_config" not in output
    assert "the schema lacks" not in output
    assert "the settings are usable" in output
    # For a TwiML Bin at Twilio.
    assert '<?xml version="1.0" encoding="UTF-8"?>\n<Response>\n  <Say language="es-MX"' in output


async def test_check_alone_asks_nobody_and_tells_the_fallback_too(terminal: Terminal) -> None:
    code, output, _ = await terminal.type("check", ELEVENLABS_API_KEY="otra")

    assert code == 0
    assert "<Hangup/>" in output
    assert "docs/live-call.md" in output
    code, output, _ = await terminal.type("check", without="TWILIO_NUMBER")
    assert (code, "<Hangup/>" in output) == (0, False)
