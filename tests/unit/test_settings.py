"""Settings as a whole: where values come from, and that every problem is told at once."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from actors.calls import CallOutcome
from daemon.settings import REQUIRED_TO_RUN, Problem, Settings, SettingsError, load_settings
from daemon.settings.environment import SECRETS, VARIABLES

RUNNABLE = {
    "BASE_PUBLIC_URL": "https://relevo.empresa.com/",
    "DEFAULT_AGENT_ID": "agent_text",
    "TWILIO_WHATSAPP_FROM": "whatsapp:+5715550100",
    "ELEVENLABS_API_KEY": "sk_key_of_elevenlabs",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "token_of_twilio",
    "RELEVO_ADMIN_TOKEN": "an admin token".replace(" ", "-") + "-of-length",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(
    toml: str = "", environ: Mapping[str, str] | None = None, *, require: Iterable[str] = ()
) -> Settings:
    path = Path("relevo.toml")
    path.write_text(toml, encoding="utf-8")
    return load_settings(path, environ or {}, require=require)


def problems(
    toml: str = "", environ: Mapping[str, str] | None = None, *, require: Iterable[str] = ()
) -> dict[str, Problem]:
    with pytest.raises(SettingsError) as caught:
        load(toml, environ, require=require)
    return {problem.key: problem for problem in caught.value.problems}


def test_without_file_and_environment_the_defaults_hold() -> None:
    assert load_settings(None, {}, require=()) == Settings()


def test_what_a_run_needs_can_come_from_the_environment_alone() -> None:
    settings = load_settings(None, RUNNABLE)
    assert settings.http.public_url == "https://relevo.empresa.com"
    assert settings.elevenlabs.text_agent_id == "agent_text"
    assert settings.twilio.whatsapp_from == "+5715550100"
    assert settings.secrets.twilio_auth_token == "token_of_twilio"


def test_everything_missing_is_told_at_once_with_its_remedy() -> None:
    found = problems(require=REQUIRED_TO_RUN)
    assert found.keys() == REQUIRED_TO_RUN
    assert "BASE_PUBLIC_URL" in found["http.public_url"].mend
    assert "TWILIO_WHATSAPP_FROM or TWILIO_WHATSAPP_NUMBER" in found["twilio.whatsapp_from"].mend
    assert "$CREDENTIALS_DIRECTORY" in found["ELEVENLABS_API_KEY"].mend


@pytest.mark.parametrize("missing", sorted(REQUIRED_TO_RUN))
def test_each_required_value_is_missed_alone(missing: str) -> None:
    names = {missing} if missing in SECRETS else {name for name, key in VARIABLES.items() if key == missing}
    environ = {name: value for name, value in RUNNABLE.items() if name not in names}
    assert problems(environ=environ, require=REQUIRED_TO_RUN).keys() == {missing}


def test_a_value_of_spaces_is_missing() -> None:
    assert problems('http.public_url = "  "', require=["http.public_url"]).keys() == {"http.public_url"}


def test_a_wrong_value_is_not_also_called_missing() -> None:
    found = problems("http.public_url = 5", require=["http.public_url"])
    assert found["http.public_url"].sentence == "expected a text, got 5"


def test_the_environment_wins_over_the_file_and_the_file_over_defaults() -> None:
    settings = load("http.port = 4000\nadmin.port = 4001", {"PORT": "5000"})
    assert (settings.http.port, settings.admin.port, settings.http.host) == (5000, 4001, "127.0.0.1")
    assert settings.origins == {"http.port": "environment variable PORT", "admin.port": "relevo.toml"}


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load("http.port = 4000", {"PORT": "", "BASE_PUBLIC_URL": " "}).http.port == 4000


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("PORT", "8080", 8080),
        ("BASE_PUBLIC_URL", "https://a.empresa.com/relevo/", "https://a.empresa.com/relevo"),
        (
            "DATABASE_URL",
            "postgresql:///relevo?host=/run/postgresql",
            "postgresql:///relevo?host=/run/postgresql",
        ),
        ("ELEVENLABS_BASE_URL", "http://127.0.0.1:9000/v1/", "http://127.0.0.1:9000"),
        ("DEFAULT_AGENT_ID", " agent_1 ", "agent_1"),
        ("ELEVENLABS_AGENT_ID", "agent_2", "agent_2"),
        ("TWILIO_WHATSAPP_FROM", "whatsapp:+14155238886", "+14155238886"),
        ("TWILIO_WHATSAPP_NUMBER", "+1 (415) 523-8886", "+14155238886"),
        ("TWILIO_NUMBER", "+15005550006", "+15005550006"),
        ("TWILIO_TWIML_APP_SID", "AP1", "AP1"),
        ("TWILIO_BASE_URL", "http://127.0.0.1:9001/", "http://127.0.0.1:9001"),
        ("CALL_TIMEOUT_SECONDS", "12.5", 12.5),
        ("HOLD_MUSIC_URL", "https://cdn.empresa.com/m.mp3?sig=a/", "https://cdn.empresa.com/m.mp3?sig=a/"),
    ],
)
def test_every_variable_of_the_environment_reaches_its_key(variable: str, text: str, value: object) -> None:
    table, name = VARIABLES[variable].split(".")
    assert getattr(getattr(load(environ={variable: text}), table), name) == value


@pytest.mark.parametrize(("name", "attribute"), SECRETS.items())
def test_a_secret_comes_from_the_environment_or_a_credential_file(
    name: str, attribute: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("from-the-credential-file\n")
    directory = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert getattr(load(environ=directory).secrets, attribute) == "from-the-credential-file"
    both = load(environ={**directory, name: "from-the-environment"})
    assert getattr(both.secrets, attribute) == "from-the-environment"
    assert both.origins[name] == f"environment variable {name}"


def test_the_database_url_may_be_a_credential_file_since_it_may_hold_a_password(tmp_path: Path) -> None:
    (tmp_path / "DATABASE_URL").write_text("postgresql://relevo:s3cret@db/relevo\n")
    settings = load(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.store.url == "postgresql://relevo:s3cret@db/relevo"
    assert "s3cret" not in repr(settings)


def test_a_credential_file_that_cannot_be_used_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "TWILIO_AUTH_TOKEN").mkdir()
    (tmp_path / "ELEVENLABS_API_KEY").write_bytes(b"\xff\xfe")
    (tmp_path / "DATABASE_URL").write_bytes(b"\xff")
    names = ["TWILIO_AUTH_TOKEN", "ELEVENLABS_API_KEY"]
    found = problems(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}, require=names)
    assert found.keys() == {*names, "store.url"}
    assert found["TWILIO_AUTH_TOKEN"].source == f"credential file {tmp_path / 'TWILIO_AUTH_TOKEN'}"


def test_secrets_are_in_no_repr_and_no_report() -> None:
    environ = {name: f"hidden-{name.lower()}-value" for name in SECRETS}
    assert "hidden" not in repr(load(environ=environ))
    report = problems(environ=dict.fromkeys(SECRETS, "hidden value"))
    assert report.keys() == SECRETS.keys()
    assert not any("hidden" in f"{problem}" for problem in report.values())


def test_a_short_admin_token_is_refused() -> None:
    found = problems(environ={"RELEVO_ADMIN_TOKEN": "fifteen-letters"})
    assert found["RELEVO_ADMIN_TOKEN"].sentence == "expected at least 16 characters, got 15"


@pytest.mark.parametrize(
    ("toml", "key", "secret"),
    [
        ('elevenlabs.api_key = "x"', "elevenlabs.api_key", "ELEVENLABS_API_KEY"),
        ('twilio.auth_token = "x"', "twilio.auth_token", "TWILIO_AUTH_TOKEN"),
        ('twilio.account_sid = "x"', "twilio.account_sid", "TWILIO_ACCOUNT_SID"),
        ('admin.token = "x"', "admin.token", "RELEVO_ADMIN_TOKEN"),
        ('secrets.tool_token = "x"', "secrets.tool_token", "RELEVO_TOOL_TOKEN"),
        ('ELEVENLABS_WEBHOOK_SECRET = "x"', "ELEVENLABS_WEBHOOK_SECRET", "ELEVENLABS_WEBHOOK_SECRET"),
    ],
)
def test_a_secret_in_the_file_is_told_where_it_belongs(toml: str, key: str, secret: str) -> None:
    found = problems(toml)
    assert found.keys() == {key}
    assert found[key].sentence == "a secret never stands in this file"
    assert f"environment variable {secret}" in found[key].mend


def test_unknown_keys_are_told_with_the_key_that_is_meant() -> None:
    found = problems(
        "PORT = 3\n[http]\nprot = 3\n[elevenlab]\n[[transfer.advisors]]\nname='A'\nphone='+5715550100'\ntopic=[]"
    )
    assert found["PORT"].mend == "write it as http.port"
    assert found["http.prot"].mend == "perhaps http.port is meant"
    assert found["elevenlab"].mend == "perhaps elevenlabs is meant"
    assert found["transfer.advisors[0].topic"].mend == "perhaps transfer.advisors[0].topics is meant"


@pytest.mark.parametrize(
    ("toml", "key", "sentence"),
    [
        ('http.port = "abc"', "http.port", 'expected an integer, got "abc"'),
        ("http.port = true", "http.port", "expected an integer, got true"),
        ("http.port = 3001.0", "http.port", "expected an integer, got 3001.0"),
        ("http.port = 65536", "http.port", "expected a number from 0 to 65535, got 65536"),
        ("http.drain_s = true", "http.drain_s", "expected a number, got true"),
        ("http.drain_s = nan", "http.drain_s", "expected a number, got nan"),
        ("http.drain_s = inf", "http.drain_s", "expected a number, got inf"),
        ("http.drain_s = -0.5", "http.drain_s", "expected a number from 0 to 3600, got -0.5"),
        ("contact_hours.enforce = 1", "contact_hours.enforce", "expected true or false, got 1"),
        ("http = 5", "http", "expected a table, got 5"),
        ('transfer.advisors = "Ana"', "transfer.advisors", 'expected a list, got "Ana"'),
        ("elevenlabs.text_agents = []", "elevenlabs.text_agents", "expected a table, got a list"),
        ("elevenlabs.text_agents.'a b' = 1", 'elevenlabs.text_agents."a b"', "expected a text, got 1"),
        (
            'conversation.open_socket = "always"',
            "conversation.open_socket",
            'expected one of "call_end", "reply", got "always"',
        ),
        (
            'log.level = "a\\u0007"',
            "log.level",
            'expected one of "debug", "info", "warning", "error", got "a\\u0007"',
        ),
        ('http.host = "\\u0000"', "http.host", "the text holds the control character U+0000"),
        ('store.data_dir = ""', "store.data_dir", "must not be empty"),
        (
            "monitor.lookback_hours = 2026-01-01",
            "monitor.lookback_hours",
            "expected a number, got 2026-01-01",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_path(toml: str, key: str, sentence: str) -> None:
    found = problems(toml)
    assert {key: problem.sentence for key, problem in found.items()} == {key: sentence}
    assert found[key].source == "relevo.toml"


def test_times_accept_whole_numbers_and_fractions() -> None:
    settings = load("conversation.idle_close_s = 60\nconversation.coalesce_s = 0.25")
    assert (settings.conversation.idle_close_s, settings.conversation.coalesce_s) == (60.0, 0.25)
    assert isinstance(settings.conversation.idle_close_s, float)


def test_a_wrong_variable_is_told_by_its_name() -> None:
    found = problems(environ={"PORT": "abc", "CALL_TIMEOUT_SECONDS": "soon"})
    assert found["http.port"].headline == 'http.port: expected an integer, got "abc"'
    assert found["http.port"].source == "environment variable PORT"
    assert found["transfer.ring_timeout_s"].source == "environment variable CALL_TIMEOUT_SECONDS"


def test_two_names_for_the_sender_must_agree() -> None:
    same = {"TWILIO_WHATSAPP_FROM": "whatsapp:+14155238886", "TWILIO_WHATSAPP_NUMBER": "+1 415 523 8886"}
    assert load(environ=same).twilio.whatsapp_from == "+14155238886"
    found = problems(environ={**same, "TWILIO_WHATSAPP_NUMBER": "+14155238887"})
    assert found["twilio.whatsapp_from"].source == (
        "environment variables TWILIO_WHATSAPP_FROM and TWILIO_WHATSAPP_NUMBER"
    )


def test_one_report_holds_problems_of_every_kind() -> None:
    found = problems(
        "http.prot = 1\nhttp.port = 'x'\nstore.pool_size = 0\ntwilio.auth_token = 't'",
        {"CALL_TIMEOUT_SECONDS": "x", "RELEVO_ADMIN_TOKEN": "short"},
        require=["http.public_url", "RELEVO_ADMIN_TOKEN", "ELEVENLABS_API_KEY"],
    )
    assert found.keys() == {
        "http.prot",
        "http.port",
        "store.pool_size",
        "twilio.auth_token",
        "transfer.ring_timeout_s",
        "RELEVO_ADMIN_TOKEN",
        "http.public_url",
        "ELEVENLABS_API_KEY",
    }


def test_the_report_reads_well() -> None:
    with pytest.raises(SettingsError) as caught:
        load("http.port = 70000")
    assert str(caught.value) == (
        "1 problem in the settings\n"
        "\n"
        "http.port: expected a number from 0 to 65535, got 70000\n"
        "  source: relevo.toml\n"
        "  mend: change it; the default is 3001"
    )


def test_settings_that_contradict_each_other_are_told() -> None:
    advisor = '[[transfer.advisors]]\nname = "{}"\nphone = "+5715550100"\n'
    found = problems(
        "admin.port = 3001\n[conversation]\ncoalesce_s = 9\nretry_max_s = 0.5\n[outbox]\nretry_max_s = 0.5\n"
        "[elevenlabs]\nrefused_retry_max_s = 20\n" + advisor.format("Ana") + advisor.format("ANA")
    )
    assert found.keys() == {
        "admin.port",
        "conversation.coalesce_max_s",
        "conversation.retry_max_s",
        "elevenlabs.refused_retry_max_s",
        "outbox.retry_max_s",
        "transfer.advisors[1].name",
        "transfer.advisors[1].phone",
    }


def test_an_advisor_has_a_phone_of_their_own_however_it_is_written() -> None:
    advisor = '[[transfer.advisors]]\nname = "{}"\nphone = "{}"\n'
    found = problems(
        'twilio.voice_number = "+525512345678"\n'
        + advisor.format("Ana", "+52 55 9999 0001")
        + advisor.format("Luis", "+5215599990001")
        + advisor.format("Eva", "+52 1 55 1234 5678")
        + advisor.format("Rosa", "+525599990002")
    )
    assert found.keys() == {"transfer.advisors[1].phone", "transfer.advisors[2].phone"}
    assert "transfer.advisors[0]" in found["transfer.advisors[1].phone"].sentence
    assert "twilio.voice_number" in found["transfer.advisors[2].phone"].sentence


def test_two_listeners_may_both_leave_the_port_to_the_system() -> None:
    assert load("http.port = 0\nadmin.port = 0").http.port == 0


def test_a_conflict_with_a_broken_table_is_not_guessed() -> None:
    assert problems("admin.port = 3001\nhttp.port = 'x'").keys() == {"http.port"}


def test_advisors_are_read_in_order() -> None:
    settings = load(
        '[[transfer.advisors]]\nname = "Ana"\nphone = "+57 300 123 4567"\n'
        '[[transfer.advisors]]\nname = "Luis"\nphone = "+573001234568"\n'
        'whatsapp = "whatsapp:+573001234569"\ntopics = ["ventas"]'
    )
    ana, luis = settings.transfer.advisors
    assert (ana.phone, ana.whatsapp, ana.topics) == ("+573001234567", "", ())
    assert (luis.name, luis.whatsapp, luis.topics) == ("Luis", "+573001234569", ("ventas",))


def test_an_advisor_needs_name_and_phone() -> None:
    found = problems("[[transfer.advisors]]\ntopics = []")
    assert found.keys() == {"transfer.advisors[0].name", "transfer.advisors[0].phone"}


class TestFile:
    def test_the_folder_s_own_file_is_read_when_none_is_named(self) -> None:
        Path("config.toml").write_text("http.port = 4000")
        assert load_settings(None, {}, require=()).http.port == 4000

    def test_relevo_config_names_another_and_the_argument_wins(self) -> None:
        Path("config.toml").write_text("http.port = 4000")
        Path("a.toml").write_text("http.port = 4001")
        Path("b.toml").write_text("http.port = 4002")
        environ = {"RELEVO_CONFIG": "a.toml"}
        assert load_settings(None, environ, require=()).http.port == 4001
        assert load_settings(Path("b.toml"), environ, require=()).http.port == 4002

    @pytest.mark.parametrize(
        ("argument", "environ"), [(Path("no.toml"), {}), (None, {"RELEVO_CONFIG": "no.toml"})]
    )
    def test_a_named_file_must_be_there(self, argument: Path | None, environ: dict[str, str]) -> None:
        with pytest.raises(SettingsError) as caught:
            load_settings(argument, environ, require=())
        assert caught.value.problems[0].headline == "no.toml: there is no such file"

    def test_a_folder_is_no_file(self) -> None:
        Path("config.toml").mkdir()
        with pytest.raises(SettingsError, match=r"config\.toml: the file cannot be read"):
            load_settings(None, {}, require=())

    @pytest.mark.parametrize(
        ("content", "position"),
        [
            (b"[http]\nport = \n", "line 2, column 8: Invalid value"),
            (b"[http]\nport 3001\n", "line 2, column 6: Expected '=' after a key in a key/value pair"),
            (b'texts.fallback = """\nHola', "line 2, column 5: Unterminated string"),
            (b"http.port = 1\nhttp.port = 2", "line 2, column 14: Cannot overwrite a value"),
            (b"fallback = '\xff'", "byte 13 is no UTF-8"),
            (b"a = " + b"[" * 5000, "is nested too deeply"),
            (b"a = " + b"9" * 5000, "is no valid TOML: Exceeds the limit"),
        ],
    )
    def test_what_is_no_toml_is_told_with_its_place(self, content: bytes, position: str) -> None:
        Path("config.toml").write_bytes(content)
        with pytest.raises(SettingsError, match=re.escape(f"config.toml: {position}")):
            load_settings(None, {}, require=())

    def test_with_a_broken_file_only_what_it_cannot_hold_is_called_missing(self) -> None:
        found = problems("[", {"PORT": "x"}, require=REQUIRED_TO_RUN)
        assert found.keys() == {"", "http.port", *(REQUIRED_TO_RUN & SECRETS.keys())}

    def test_a_byte_order_mark_is_no_mistake(self) -> None:
        Path("config.toml").write_bytes(b"\xef\xbb\xbfhttp.port = 4000")
        assert load_settings(None, {}, require=()).http.port == 4000


class TestDerived:
    def test_outcomes_with_a_text_get_a_follow_up(self) -> None:
        assert Settings().follow_up.outcomes == {CallOutcome.COMPLETED}
        chosen = load('follow_up = { completed = false, busy = "Hola" }').follow_up
        assert chosen.outcomes == {CallOutcome.BUSY}
        assert chosen.texts == {CallOutcome.BUSY: "Hola"}
