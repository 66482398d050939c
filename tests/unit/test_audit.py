"""The dependency audit of CI, with a pip-audit that says what the test wants."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
FLAW = {"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"], "aliases": [], "description": ""}
KNOWN = {"name": "requests", "version": "2.19.0", "vulns": [FLAW]}
SOUND = {"name": "trio", "version": "0.35.0", "vulns": []}
SKIPPED = {"name": "trio", "skip_reason": "Dependency not found on PyPI"}


def audit(tmp_path: Path, *, probe: str, lock: str) -> tuple[int, str]:
    """Exit code and words; `probe` and `lock` are what pip-audit prints when asked for the one or the other."""
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps([probe, lock]))
    program = tmp_path / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nprobe, lock = json.load(open({str(answers)!r}))\n"
        "print(probe if 'probe.txt' in ' '.join(sys.argv) else lock)\nsys.exit(1)\n"
    )
    program.chmod(0o755)
    run = subprocess.run(
        [sys.executable, AUDIT, program, tmp_path / "requirements.lock"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def answer(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_vulnerability_fails_and_is_named(tmp_path: Path) -> None:
    code, words = audit(tmp_path, probe=answer(KNOWN), lock=answer(SOUND, KNOWN))
    assert code == 1
    assert "requests 2.19.0: PYSEC-2018-28 (mended in: 2.20.0)" in words


def test_no_known_vulnerability_passes(tmp_path: Path) -> None:
    code, words = audit(tmp_path, probe=answer(KNOWN), lock=answer(SOUND))
    assert code == 0
    assert "1 packages, 0 known vulnerabilities, 0 unknown" in words


@pytest.mark.parametrize("probe", ["", "no network", answer(SKIPPED), answer(SOUND)])
def test_a_service_that_cannot_be_reached_is_said_plainly_and_passes(tmp_path: Path, probe: str) -> None:
    code, words = audit(tmp_path, probe=probe, lock=answer(KNOWN))
    assert code == 0
    assert "not reachable" in words


def test_an_audit_that_breaks_halfway_fails(tmp_path: Path) -> None:
    code, _ = audit(tmp_path, probe=answer(KNOWN), lock="oh no")
    assert code == 1


def test_without_pip_audit_nothing_is_audited(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, AUDIT, tmp_path / "nowhere", tmp_path / "requirements.lock"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, "not reachable" in run.stdout) == (0, True)
