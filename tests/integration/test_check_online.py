"""What the online check finds, with a real database and both simulators behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import evolve

from daemon import check_online
from daemon.check import Finding, Level
from daemon.check_online import review_online
from daemon.elevenlabs.agent_settings import Role, differences
from daemon.elevenlabs.agent_tools import WANTED_TOOLS
from daemon.elevenlabs.setting_rules import patch_of
from daemon.lab.elevenlabs.agents import full_document, merged
from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.settings import Settings
from daemon.store.connection import Connection
from daemon.store.migrate import MigrationError, load_migrations, migrate, missing_migrations
from daemon.store.pool import Pool
from tests.contract.lab_elevenlabs import KEY, ServedLab, served_lab
from tests.contract.lab_twilio import ACCOUNT_SID, AUTH_TOKEN, Bench, nobody_listens, served
from tests.contract.scripted_server import listening

PUBLIC = "https://relevo.empresa.com"
NUMBER = "+525512345678"
SENDER = "+573001234567"
BIN = "https://handler.twilio.com/twiml/EH0123"


def agent(role: Role) -> dict[str, Any]:
    """An agent that is set as it should be."""
    fresh = full_document({"name": role.value, "conversation_config": {}})
    return merged(fresh, patch_of(differences(fresh, role)))


class Vendors:
    """Everything as it should be, until a test breaks it."""

    def __init__(self, elevenlabs: ServedLab, twilio: Bench, database: str) -> None:
        self.elevenlabs, self.twilio = elevenlabs, twilio
        world = elevenlabs.lab.world
        self.text = world.add_agent(agent(Role.TEXT))
        voice = agent(Role.VOICE)
        voice["conversation_config"]["agent"]["prompt"]["tool_ids"] = [
            world.add_tool(dict(wanted.config)).id for wanted in WANTED_TOOLS
        ]
        self.voice = world.add_agent(voice)
        self.number = twilio.lab.account.numbers[0]
        self.app = twilio.lab.account.applications[0]
        twilio.lab.account.incoming.url = f"{PUBLIC}/api/webhook/twilio/incoming"
        empty = Settings()
        self.settings = evolve(
            empty,
            http=evolve(empty.http, public_url=PUBLIC),
            store=evolve(empty.store, url=database),
            elevenlabs=evolve(
                empty.elevenlabs,
                base_url=elevenlabs.url,
                text_agent_id=self.text.id,
                voice_agent_id=self.voice.id,
            ),
            twilio=evolve(
                empty.twilio,
                base_url=twilio.url,
                whatsapp_from=SENDER,
                voice_number=NUMBER,
                twiml_app_sid=self.app.sid,
            ),
            secrets=evolve(
                empty.secrets,
                elevenlabs_api_key=KEY,
                twilio_account_sid=ACCOUNT_SID,
                twilio_auth_token=AUTH_TOKEN,
            ),
        )

    async def review(self, **tables: Mapping[str, Any]) -> Sequence[Finding]:
        """What there is to mend or to know, with some of the settings changed."""
        return [one for one in await self.everything(**tables) if one.level is not Level.FINE]

    async def everything(self, **tables: Mapping[str, Any]) -> Sequence[Finding]:
        changed = {name: evolve(getattr(self.settings, name), **values) for name, values in tables.items()}
        return await review_online(evolve(self.settings, **changed))


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[Vendors]:
    number = IncomingNumber(
        phone_number=NUMBER,
        voice_url=f"{PUBLIC}/voice/incoming",
        status_callback=f"{PUBLIC}/voice/status",
        voice_fallback_url=BIN,
    )
    app = Application(voice_url=f"{PUBLIC}/voice/agent")
    async with served(numbers=[number], applications=[app]) as twilio, served_lab() as elevenlabs:
        twilio.lab.account.senders = (f"whatsapp:{SENDER}",)
        yield Vendors(elevenlabs, twilio, database)


@pytest.fixture
async def migrated(database: str) -> str:
    connection = await Connection.connect(database, timeout_s=10)
    try:
        await migrate(connection)
    finally:
        connection.close_now()
    return database


def levels(findings: Sequence[Finding]) -> list[tuple[Level, str]]:
    return [(finding.level, finding.key) for finding in findings]


def the(findings: Sequence[Finding], key: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.key == key]
    return finding


async def test_what_is_set_leaves_nothing_to_say_and_nothing_is_changed(migrated: str) -> None:
    async with opened(migrated) as vendors:
        assert await vendors.review() == []
        asked = vendors.elevenlabs.lab.world.books.requests
        assert not [name for name in asked if not name.startswith("GET")]
        assert not [call for call in vendors.twilio.lab.books.rest_calls if call.method != "GET"]


async def test_what_is_well_is_said_too(migrated: str) -> None:
    async with opened(migrated) as vendors:
        every = await vendors.everything()
        vendors.elevenlabs.lab.world.agents.pop(vendors.text.id)
        all_but_one = await vendors.everything()

    assert levels(every) == [
        (Level.FINE, key)
        for key in (
            "store.url",
            "TWILIO_ACCOUNT_SID",
            "twilio.whatsapp_from",
            "twilio.voice_number",
            "twilio.twiml_app_sid",
            "elevenlabs.text_agent_id",
            "elevenlabs.voice_agent_id",
        )
    ]
    for whom in ("the database answers", "Twilio takes the token", "ElevenLabs takes the key"):
        assert any(whom in finding.sentence for finding in every)
    assert levels(all_but_one)[0] == (Level.PROBLEM, "elevenlabs.text_agent_id")
    assert len(all_but_one) == len(every)


async def test_everything_that_is_wrong_is_named_at_once_and_how_to_mend_it(database: str) -> None:
    async with opened(database) as vendors:
        vendors.number.voice_url = "https://central.mx/voz"
        vendors.number.voice_fallback_url = None
        vendors.app.voice_method = "GET"
        vendors.twilio.lab.account.senders = ()
        vendors.voice.document["conversation_config"]["tts"]["agent_output_audio_format"] = "pcm_16000"
        vendors.elevenlabs.lab.world.agents.pop(vendors.text.id)
        findings = await vendors.review()

    problem, warning, note = Level.PROBLEM, Level.WARNING, Level.NOTE
    assert levels(findings) == [
        (problem, "twilio.voice_number"),
        (problem, "twilio.twiml_app_sid"),
        (problem, "elevenlabs.text_agent_id"),
        (problem, "elevenlabs.voice_agent_id"),
        (warning, "twilio.whatsapp_from"),
        (warning, "twilio.voice_number"),
        (note, "store.url"),
    ]
    assert all(finding.mend for finding in findings)
    assert "https://central.mx/voz" in findings[0].sentence
    assert f"{PUBLIC}/voice/incoming" in findings[0].mend
    assert "relevo agent apply" in findings[0].mend
    tts = the(findings, "elevenlabs.voice_agent_id")
    assert "conversation_config.tts.agent_output_audio_format is pcm_16000" in tts.sentence
    assert "TwiML Bin" in findings[5].mend
    assert "relevo migrate" in findings[6].mend


async def test_a_voice_agent_that_answers_no_calls_needs_less(migrated: str) -> None:
    async with opened(migrated) as vendors:
        vendors.voice.document["conversation_config"]["tts"]["agent_output_audio_format"] = "pcm_16000"
        findings = await vendors.review(twilio={"voice_number": "", "twiml_app_sid": ""})

    assert levels(findings) == [(Level.WARNING, "elevenlabs.voice_agent_id")]


async def test_each_text_agent_is_looked_at(migrated: str) -> None:
    async with opened(migrated) as vendors:
        other = vendors.elevenlabs.lab.world.add_agent(full_document({"conversation_config": {}}))
        agents = {"agent_ventas": other.id, "agent_cobros": vendors.text.id}
        findings = await vendors.review(elevenlabs={"text_agents": agents})

    assert {finding.key for finding in findings} == {"elevenlabs.text_agents"}
    assert findings[0].level is Level.PROBLEM


async def test_wrong_secrets_are_named_once_each(migrated: str) -> None:
    secrets = {"elevenlabs_api_key": "otra", "twilio_auth_token": "otro"}
    async with opened(migrated) as vendors:
        findings = await vendors.review(secrets=secrets)

    assert levels(findings) == [(Level.PROBLEM, "TWILIO_AUTH_TOKEN"), (Level.PROBLEM, "ELEVENLABS_API_KEY")]
    assert "otr" not in "".join(finding.sentence for finding in findings)


async def test_what_is_nobodys_is_named(migrated: str) -> None:
    async with opened(migrated) as vendors:
        findings = await vendors.review(
            twilio={"voice_number": "+525500000001", "twiml_app_sid": "AP" + "0" * 32}
        )

    assert levels(findings) == [
        (Level.PROBLEM, "twilio.voice_number"),
        (Level.PROBLEM, "twilio.twiml_app_sid"),
    ]


async def test_a_webhook_that_leads_elsewhere_is_named(migrated: str) -> None:
    async with opened(migrated) as vendors:
        vendors.twilio.lab.account.incoming.url = "https://otro.mx/mensajes"
        finding = the(await vendors.review(), "twilio.whatsapp_from")

    assert "https://otro.mx/mensajes" in finding.sentence
    assert f"{PUBLIC}/api/webhook/twilio/incoming" in finding.mend


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:9/x", "postgresql://nobody@no.such.host.invalid/x"]
)
async def test_nobody_there_is_a_finding_for_each_question(url: str) -> None:
    async with opened(url) as vendors:
        nowhere = await nobody_listens()
        findings = await vendors.review(elevenlabs={"base_url": nowhere}, twilio={"base_url": nowhere})

    assert sorted(levels(findings)) == sorted(
        [
            (Level.PROBLEM, "store.url"),
            (Level.PROBLEM, "TWILIO_ACCOUNT_SID"),
            (Level.PROBLEM, "twilio.voice_number"),
            (Level.PROBLEM, "twilio.twiml_app_sid"),
            (Level.PROBLEM, "elevenlabs.text_agent_id"),
            (Level.PROBLEM, "elevenlabs.voice_agent_id"),
            (Level.WARNING, "twilio.whatsapp_from"),
        ]
    )
    assert all("could not be asked" in finding.sentence for finding in findings)


async def test_who_does_not_answer_is_waited_for_once(migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_online, "DEADLINE_S", 0.5)

    async def say_nothing(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with opened(migrated) as vendors, listening(say_nothing) as silent:
        began = trio.current_time()
        findings = await vendors.review(elevenlabs={"base_url": silent}, twilio={"base_url": silent})
        took_s = trio.current_time() - began

    assert len(findings) == 6
    assert all("no answer within 0.5 s" in finding.sentence for finding in findings)
    assert took_s < 3


async def test_without_a_database_of_ones_own_there_is_nobody_to_ask(
    migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(migrated) as vendors:
        assert await vendors.review(store={"url": ""}) == []
        monkeypatch.setattr(check_online, "find_spec", lambda _: None)
        finding = the(await vendors.review(store={"url": ""}), "store.url")

    assert (finding.level, "pip install" in finding.mend) == (Level.PROBLEM, True)


async def test_a_schema_of_another_release_is_a_problem(migrated: str) -> None:
    connection = await Connection.connect(migrated, timeout_s=10)
    await connection.execute("INSERT INTO schema_migration VALUES (9999, 'later', 'x')")
    connection.close_now()
    async with opened(migrated) as vendors:
        finding = the(await vendors.review(), "store.url")

    assert (finding.level, "newer" in finding.sentence) == (Level.PROBLEM, True)


async def test_missing_migrations_are_counted_and_not_applied(pool: Pool) -> None:
    everything = load_migrations()
    async with pool.connection() as connection:
        assert await missing_migrations(connection) == everything
        assert await missing_migrations(connection, everything[:1]) == everything[:1]
        await migrate(connection, everything[:2])
        assert await missing_migrations(connection) == everything[2:]
        await migrate(connection)
        assert await missing_migrations(connection) == []
        with pytest.raises(MigrationError):
            await missing_migrations(connection, everything[:1])
