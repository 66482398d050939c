"""The commands as somebody types them: what they print, and the code they end with."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.lab.serving import LabAccount
from tests.integration.relay import ADMIN_TOKEN, RELEVO, free_port

TIMEOUT_S = 60

pytestmark = pytest.mark.processes


@pytest.fixture
def complete(database_url: str) -> Mapping[str, str]:
    """Every variable that `relevo run` needs."""
    account = LabAccount()
    return {
        "DATABASE_URL": database_url,
        "BASE_PUBLIC_URL": "https://relevo.example.com",
        "PORT": str(free_port()),
        "ELEVENLABS_BASE_URL": "http://127.0.0.1:9",
        "ELEVENLABS_API_KEY": account.api_key,
        "DEFAULT_AGENT_ID": account.text_agent_id,
        "TWILIO_BASE_URL": "http://127.0.0.1:9",
        "TWILIO_ACCOUNT_SID": account.account_sid,
        "TWILIO_AUTH_TOKEN": account.auth_token,
        "TWILIO_WHATSAPP_FROM": account.whatsapp_from,
        "RELEVO_ADMIN_TOKEN": ADMIN_TOKEN,
    }


def relevo(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(RELEVO), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_wrong_settings_are_reported_at_once_and_end_with_78(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[http]\nport = "abc"\nspeed = 3\n[nonsense]\nx = 1\n')

    ended = relevo("run", folder=tmp_path)

    assert ended.returncode == 78
    for key in ("http.port", "http.speed", "nonsense", "ELEVENLABS_API_KEY", "RELEVO_ADMIN_TOKEN"):
        assert f"{key}: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ({"DATABASE_URL": "nonsense"}, 78, "store.url"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x?pool=9"}, 78, "store.url"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x"}, 1, "cannot connect to the database"),
        ({"PORT": "70000"}, 78, "http.port"),
        ({"RELEVO_ADMIN_TOKEN": "short"}, 78, "RELEVO_ADMIN_TOKEN"),
    ],
)
def test_what_keeps_the_daemon_from_starting_is_one_clear_report(
    complete: Mapping[str, str], tmp_path: Path, change: Mapping[str, str], code: int, sentence: str
) -> None:
    ended = relevo("run", folder=tmp_path, environment={**complete, **change})

    assert ended.returncode == code, ended.stderr
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_an_example_has_in_its_place_starts_nothing(
    complete: Mapping[str, str], tmp_path: Path, command: str
) -> None:
    ended = relevo(command, folder=tmp_path, environment={**complete, "DEFAULT_AGENT_ID": "agent_..."})

    assert ended.returncode == 78
    assert "elevenlabs.text_agent_id" in ended.stdout + ended.stderr
    assert "serving" not in ended.stdout + ended.stderr


def test_a_port_in_use_is_named(complete: Mapping[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        (tmp_path / "config.toml").write_text(f"[admin]\nport = {free_port()}\n")

        ended = relevo("run", folder=tmp_path, environment={**complete, "PORT": port})

    assert ended.returncode == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_says_what_to_expect(complete: Mapping[str, str], tmp_path: Path) -> None:
    ended = relevo("check", folder=tmp_path, environment=complete)

    assert ended.returncode == 0, ended.stderr
    assert "whatsapp.opening_template_sid" in ended.stdout
    assert "the settings are usable" in ended.stdout


def test_migrate_may_be_repeated(complete: Mapping[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        ended = relevo("migrate", folder=tmp_path, environment={"DATABASE_URL": complete["DATABASE_URL"]})

        assert (ended.returncode, ended.stdout) == (0, "the schema is current\n"), ended.stderr


def test_status_of_nothing_is_1(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"[admin]\nport = {free_port()}\n")

    ended = relevo("status", folder=tmp_path, environment={"RELEVO_ADMIN_TOKEN": ADMIN_TOKEN})

    assert ended.returncode == 1
    assert "is it running?" in ended.stderr


def test_wrong_usage_is_2(tmp_path: Path) -> None:
    assert relevo("run", "--nonsense", folder=tmp_path).returncode == 2


def test_the_demo_plays_by_itself(tmp_path: Path) -> None:
    ended = relevo("demo", folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert re.search(r"✓ 7 messages: all stored in order, all 4 of ours delivered", ended.stdout)


def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path) -> None:
    with subprocess.Popen(
        [str(RELEVO), "demo"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "☎" in line.decode():
                break
        demo.send_signal(signal.SIGINT)
        demo.wait(TIMEOUT_S)

    assert list(tmp_path.iterdir()) == []
    assert (
        str(tmp_path) not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    )
