"""What the offline check tells the operator."""

import base64

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from daemon.check import Finding, Level, review
from daemon.settings import (
    AdminSettings,
    Advisor,
    ContactHoursSettings,
    ElevenLabsSettings,
    FollowUpSettings,
    HttpSettings,
    MonitorSettings,
    Secrets,
    Settings,
    StoreSettings,
    TransferSettings,
    TwilioSettings,
    WhatsAppSettings,
)

HEX = "0123456789abcdef" * 2
ADVISORS = TransferSettings(
    advisors=(Advisor(name="Ana", phone="+573001234567"),), message_template_sid=f"HX{HEX}"
)
COMPLETE = Settings(
    http=HttpSettings(public_url="https://relevo.empresa.com"),
    store=StoreSettings(url="postgresql://relevo@db/relevo"),
    elevenlabs=ElevenLabsSettings(text_agent_id="agent_text", voice_agent_id="agent_voice"),
    twilio=TwilioSettings(
        whatsapp_from="+573001234567", voice_number="+573001234568", twiml_app_sid=f"AP{HEX}"
    ),
    whatsapp=WhatsAppSettings(opening_template_sid=f"HX{HEX}", reopen_template_sid=f"HX{HEX}"),
    transfer=ADVISORS,
    contact_hours=ContactHoursSettings(enforce=False),
    secrets=Secrets(
        elevenlabs_api_key="key",
        elevenlabs_webhook_secret="wsec",
        twilio_account_sid=f"AC{HEX}",
        twilio_auth_token="token",
        admin_token="a" * 32,
        tool_token="t" * 32,
    ),
)


def changed(table: str, **values: object) -> list[Finding]:
    """The findings once one table of complete settings is different."""
    return review(evolve(COMPLETE, **{table: evolve(getattr(COMPLETE, table), **values)}))


def levels(findings: list[Finding]) -> dict[str, Level]:
    """The gravest level for each key."""
    return {finding.key: finding.level for finding in reversed(findings)}


@pytest.mark.parametrize(
    "example",
    ["ACxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "changeme", "CHANGE_ME", "AC...", "sk_…", "<token>", "your_auth_token",
     "${TWILIO_AUTH_TOKEN}", "********", "ACxx", "xxx", "TODO", "agent_..."],
)  # fmt: skip
def test_what_was_left_over_from_an_example_is_named(example: str) -> None:
    for attribute, name in (
        ("twilio_account_sid", "TWILIO_ACCOUNT_SID"),
        ("twilio_auth_token", "TWILIO_AUTH_TOKEN"),
        ("elevenlabs_api_key", "ELEVENLABS_API_KEY"),
        ("admin_token", "RELEVO_ADMIN_TOKEN"),
    ):
        found = levels(changed("secrets", **{attribute: example}))
        assert found[name] is Level.PROBLEM
        assert all(example not in finding.sentence for finding in changed("secrets", **{attribute: example}))
    assert levels(changed("elevenlabs", text_agent_id=example))["elevenlabs.text_agent_id"] is Level.PROBLEM


@given(st.binary(min_size=16, max_size=32))
def test_no_true_secret_is_taken_for_an_example(random: bytes) -> None:
    for secret in (random.hex(), base64.urlsafe_b64encode(random).decode(), f"sk_{random.hex()}"):
        if "xxxxxx" not in secret.lower():
            assert changed("secrets", admin_token=secret.ljust(16, "0"), elevenlabs_api_key=secret) == []


def test_settings_for_daily_work_leave_nothing_to_say() -> None:
    assert review(COMPLETE) == []


def test_the_defaults_say_what_the_daemon_will_do_without() -> None:
    assert levels(review(Settings())) == {
        "whatsapp.opening_template_sid": Level.WARNING,
        "store.url": Level.NOTE,
        "whatsapp.reopen_template_sid": Level.NOTE,
        "ELEVENLABS_WEBHOOK_SECRET": Level.NOTE,
        "elevenlabs.voice_agent_id": Level.NOTE,
        "twilio.voice_number": Level.NOTE,
        "contact_hours.enforce": Level.NOTE,
    }


def test_problems_come_first_and_notes_last() -> None:
    order = [finding.level for finding in review(Settings(transfer=ADVISORS))]
    assert order == sorted(order, key=list(Level).index)
    assert (order[0], order[-1]) == (Level.PROBLEM, Level.NOTE)


def test_a_missing_template_is_explained_by_what_will_happen() -> None:
    (finding,) = changed("whatsapp", opening_template_sid="")
    assert "63016" in finding.sentence
    assert "24 hours" in finding.sentence
    assert "ContentSid" in finding.mend


@pytest.mark.parametrize(
    ("table", "values", "expected"),
    [
        ("http", {"public_url": "http://relevo.empresa.com"}, {"http.public_url": Level.WARNING}),
        ("http", {"public_url": "https://localhost"}, {"http.public_url": Level.WARNING}),
        ("http", {"host": "0.0.0.0"}, {"http.host": Level.WARNING}),
        ("admin", {"host": "10.0.0.1"}, {"admin.host": Level.WARNING}),
        ("admin", {"host": "localhost"}, {}),
        ("store", {"url": ""}, {"store.url": Level.NOTE}),
        ("store", {"url": "postgresql://relevo:s3cret@db/relevo"}, {"store.url": Level.WARNING}),
        ("store", {"url": "postgresql:///relevo?password=s3cret"}, {"store.url": Level.WARNING}),
        (
            "twilio",
            {"whatsapp_from": "+14155238886"},
            {"twilio.whatsapp_from": Level.WARNING, "whatsapp.messages_per_second": Level.WARNING},
        ),
        ("twilio", {"base_url": "http://127.0.0.1:9001"}, {"twilio.base_url": Level.NOTE}),
        ("twilio", {"base_url": "http://proxy.empresa.com"}, {"twilio.base_url": Level.WARNING}),
        ("twilio", {"voice_number": ""}, {"twilio.voice_number": Level.PROBLEM}),
        ("twilio", {"twiml_app_sid": ""}, {"twilio.twiml_app_sid": Level.NOTE}),
        ("twilio", {"twiml_app_sid": "AP12"}, {"twilio.twiml_app_sid": Level.WARNING}),
        ("elevenlabs", {"base_url": "https://api.us.elevenlabs.io"}, {}),
        ("elevenlabs", {"base_url": "https://proxy.empresa.com"}, {"elevenlabs.base_url": Level.NOTE}),
        ("elevenlabs", {"voice_agent_id": ""}, {"elevenlabs.voice_agent_id": Level.PROBLEM}),
        ("monitor", {"poll_every_s": 0.5}, {"monitor.poll_every_s": Level.WARNING}),
        ("follow_up", {"completed": False}, {"follow_up": Level.WARNING}),
        ("transfer", {"advisors": ()}, {"transfer.advisors": Level.NOTE}),
        ("transfer", {"message_template_sid": "HX"}, {"transfer.message_template_sid": Level.WARNING}),
        ("transfer", {"message_template_sid": ""}, {"transfer.message_template_sid": Level.WARNING}),
        ("secrets", {"elevenlabs_webhook_secret": ""}, {"ELEVENLABS_WEBHOOK_SECRET": Level.NOTE}),
        ("secrets", {"twilio_account_sid": "SK1"}, {"TWILIO_ACCOUNT_SID": Level.WARNING}),
        ("secrets", {"tool_token": ""}, {"RELEVO_TOOL_TOKEN": Level.NOTE}),
        ("secrets", {"tool_token": "short"}, {"RELEVO_TOOL_TOKEN": Level.WARNING}),
        ("secrets", {"tool_token": "a" * 32}, {"RELEVO_TOOL_TOKEN": Level.WARNING}),
        ("secrets", {"twilio_auth_token_secondary": "token"}, {"TWILIO_AUTH_TOKEN_SECONDARY": Level.NOTE}),
    ],
)
def test_each_thing_worth_knowing_is_told(
    table: str, values: dict[str, object], expected: dict[str, Level]
) -> None:
    assert levels(changed(table, **values)) == expected


def test_a_lab_on_this_machine_may_have_everything_on_loopback() -> None:
    lab = evolve(
        COMPLETE,
        http=HttpSettings(public_url="http://127.0.0.1:3001"),
        elevenlabs=evolve(COMPLETE.elevenlabs, base_url="http://127.0.0.1:9000"),
        twilio=evolve(COMPLETE.twilio, base_url="http://127.0.0.1:9001"),
        monitor=MonitorSettings(poll_every_s=0.05),
    )
    assert levels(review(lab)) == {
        "http.public_url": Level.WARNING,
        "elevenlabs.base_url": Level.NOTE,
        "twilio.base_url": Level.NOTE,
    }


def test_a_password_from_the_environment_is_where_it_belongs() -> None:
    url = StoreSettings(url="postgresql://relevo:s3cret@db/relevo")
    settings = evolve(COMPLETE, store=url, origins={"store.url": "environment variable DATABASE_URL"})
    assert review(settings) == []


def test_no_finding_shows_a_secret() -> None:
    hidden = evolve(
        COMPLETE,
        secrets=Secrets(twilio_account_sid="hidden", tool_token="hidden", admin_token="hidden"),
        store=StoreSettings(url="postgresql://u:hidden@h/db"),
        admin=AdminSettings(host="0.0.0.0"),
        follow_up=FollowUpSettings(completed=False),
    )
    assert "hidden" not in str(review(hidden))
