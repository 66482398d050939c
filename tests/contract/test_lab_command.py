"""What `relevo lab` gives a daemon: lines that a shell takes, settings that the daemon reads and the lab knows."""

import os
import subprocess
from pathlib import Path

from daemon.cli.lab import EXAMPLE_ADVISORS, as_shell, exports, lab_settings
from daemon.lab.serving import LabAccount, open_lab
from daemon.settings import Settings, load_settings

ACCOUNT = LabAccount()
URL = "http://127.0.0.1:3301"


def pasted(folder: Path, *further: str) -> str:
    """What a shell in that folder says after all of it was pasted."""
    environment = ACCOUNT.environment(elevenlabs_url="http://127.0.0.1:1", twilio_url="http://127.0.0.1:2")
    script = as_shell(exports(environment), lab_settings(ACCOUNT, admin_port=3302))
    ended = subprocess.run(
        ["/bin/sh", "-eu"],
        input=script + "\n".join(further),
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert ended.stderr == ""
    return ended.stdout


def settings_of(folder: Path) -> Settings:
    environment = ACCOUNT.environment(elevenlabs_url="http://127.0.0.1:1", twilio_url="http://127.0.0.1:2")
    own = {"BASE_PUBLIC_URL": URL, "RELEVO_ADMIN_TOKEN": "a" * 16}
    return load_settings(folder / "lab.toml", {**environment, **own})


def test_what_is_printed_can_be_pasted_as_it_is(tmp_path: Path) -> None:
    shown = pasted(tmp_path, 'echo "$RELEVO_CONFIG" "$TWILIO_NUMBER"')

    assert shown.split() == [str(tmp_path / "lab.toml"), ACCOUNT.voice_number]
    settings = settings_of(tmp_path)
    assert settings.admin.port == 3302
    assert [(one.name, one.phone) for one in settings.transfer.advisors] == list(EXAMPLE_ADVISORS)


async def test_every_template_of_the_settings_is_known(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text(lab_settings(ACCOUNT, admin_port=3302), encoding="utf-8")
    settings = settings_of(tmp_path)
    async with open_lab(public_url=None) as lab:
        templates = dict(lab.twilio.world.templates)

    for sid, variables in (
        (settings.whatsapp.opening_template_sid, settings.whatsapp.opening_template_variables),
        (settings.whatsapp.reopen_template_sid, settings.whatsapp.reopen_template_variables),
        (settings.transfer.message_template_sid, settings.transfer.message_template_variables),
    ):
        assert not templates.pop(sid).lacks(variables)
    assert templates == {}
