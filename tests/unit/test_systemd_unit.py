"""The unit file, as far as it can be checked without booting a system."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from daemon.settings.environment import SECRETS

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "relevo.service"
DRAIN_S = 20
EXPOSURE_MAX = 2.5

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing"
)


def parsed() -> dict[str, list[str]]:
    """Every setting with its values in order; the sections have none in common."""
    settings: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings[key].append(value)
    return settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecStart", "/opt/relevo/.venv/bin/relevo run --config /etc/relevo/config.toml"),
        ("User", "relevo"),
        ("StateDirectory", "relevo"),
        ("WorkingDirectory", "/var/lib/relevo"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78"),
        # A database that is away for long must not use up the starts.
        ("StartLimitIntervalSec", "0"),
        ("KillMode", "mixed"),
        ("EnvironmentFile", "-/etc/relevo/relevo.env"),
    ],
)
def test_the_essentials_stand_there_once(key: str, value: str) -> None:
    assert parsed()[key] == [value]


def test_a_drain_has_time_to_end_before_it_is_killed() -> None:
    assert int(parsed()["TimeoutStopSec"][0]) >= DRAIN_S + 10


def test_the_watchdog_waits() -> None:
    assert int(parsed()["WatchdogSec"][0]) >= 10


def test_every_secret_can_be_a_credential_of_its_name() -> None:
    loaded = dict(value.split(":", 1) for value in parsed()["LoadCredential"])
    assert loaded == {name: f"/etc/relevo/credentials/{name}" for name in [*SECRETS, "DATABASE_URL"]}


def test_secrets_that_may_be_missing_have_a_blank_in_their_place() -> None:
    blanks = dict(value.split(":", 1) for value in parsed()["SetCredential"])
    assert blanks == dict.fromkeys(
        ("ELEVENLABS_WEBHOOK_SECRET", "TWILIO_AUTH_TOKEN_SECONDARY", "RELEVO_TOOL_TOKEN", "DATABASE_URL"),
        r"\x20",
    )


def test_the_example_lists_every_credential() -> None:
    listed = re.findall(r"^([A-Z_]+) ", (FOLDER / "credentials.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(value.split(":")[0] for value in parsed()["LoadCredential"])


def test_no_secret_is_asked_for_in_the_environment_file() -> None:
    names = set(re.findall(r"^#?([A-Z_]+)=", (FOLDER / "relevo.env.example").read_text(), re.MULTILINE))
    assert names
    assert names.isdisjoint(SECRETS)


def test_the_readme_says_what_every_hardening_line_costs() -> None:
    lines = UNIT.read_text().split("# What the daemon cannot do", 1)[1].splitlines()
    keys = {line.partition("=")[0] for line in lines if re.match(r"[A-Z][A-Za-z]+=", line)} - {"WantedBy"}
    costs = (FOLDER / "README.md").read_text().split("## What the hardening costs", 1)[1]
    assert {key for key in keys if f"`{key}" not in costs} == set()


@needs_analyze
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    # The program is not installed where the test runs; nothing else is changed.
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, complaints) == (0, [])


@needs_analyze
def test_the_exposure_is_low() -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"Overall exposure level for relevo.service: ([\d.]+)", judged.stdout)
    assert found is not None, judged.stderr
    assert float(found[1]) < EXPOSURE_MAX


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is missing")
def test_the_user_can_be_made() -> None:
    made = subprocess.run(
        ["systemd-sysusers", "--dry-run", FOLDER / "relevo.sysusers"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stderr
