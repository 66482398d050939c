"""`relevo batch submit` as somebody types it, in a script and on a terminal."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, field
from quart import request

from daemon.lab.elevenlabs.script import CallScript
from tests.contract.lab_elevenlabs import KEY, ServedLab, served_lab
from tests.integration.relay import ADMIN_TOKEN, RELEVO, Relay, open_relay

FILE = """phone_number;id;name;product
+573001234001;cliente-1;Ana;Software IA
+573001234002;;"Pérez; Iván";Software IA
+57 300 123 4003;cliente-3;Luz;
"""
NUMBER = ("--name", "octubre", "--phone-number-id", "phnum_lab")
LIMIT_S = 60
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

pytestmark = pytest.mark.processes


def environment_of(url: str, **more: str) -> Mapping[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TERM": "xterm",
        "COLUMNS": "200",
        "ELEVENLABS_BASE_URL": url,
        "ELEVENLABS_API_KEY": KEY,
        **more,
    }


async def relevo(
    *arguments: str, folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[bytes]":
    with trio.fail_after(LIMIT_S):
        return await trio.run_process(
            [str(RELEVO), *arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


def written(folder: Path, text: str = FILE) -> str:
    (folder / "clientes.csv").write_text(text, encoding="utf-8-sig")
    return "clientes.csv"


# --- The whole way ----------------------------------------------------------------------------------------


async def submitted(relay: Relay, folder: Path) -> str:
    account = relay.account
    environment = environment_of(
        f"http://127.0.0.1:{relay.elevenlabs_port}",
        ELEVENLABS_API_KEY=account.api_key,
        ELEVENLABS_AGENT_ID=account.voice_agent_id,
    )
    ended = await relevo("batch", "submit", written(folder), *NUMBER, folder=folder, environment=environment)
    assert ended.returncode == 0, ended.stderr.decode()
    (batch_id,) = ended.stdout.decode().splitlines()
    assert batch_id.startswith("btcal_")
    return batch_id


async def test_those_in_the_file_are_called_and_get_their_openings(database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path) as relay:
            batch_id = await submitted(relay, tmp_path)
            openings = {
                name: await relay.inbox(phone, count=1, wait_s=30)
                for name, phone in [
                    ("Ana", "+573001234001"),
                    ("Pérez; Iván", "+573001234002"),
                    ("Luz", "+573001234003"),
                ]
            }
            shown = await relevo(
                *("batch", "show", batch_id, "--config", str(tmp_path / "config.toml")),
                folder=tmp_path,
                environment=environment_of("http://127.0.0.1:9", RELEVO_ADMIN_TOKEN=ADMIN_TOKEN),
            )

    for name, messages in openings.items():
        assert len(messages) == 1
        assert messages[0].startswith(f"¡Hola, {name}")
    lines = shown.stdout.decode().splitlines()
    assert lines[0].startswith(f"{batch_id} octubre: ")
    assert {line.split()[0] for line in lines[2:5]} == {"cliente-1", "row-2", "cliente-3"}


async def test_a_batch_whose_answer_was_lost_is_looked_up_and_submitted_once(tmp_path: Path) -> None:
    async with served_lab() as served:
        served.fault("rest_answer_lost", path="submit")
        ended = await relevo(
            *("batch", "submit", written(tmp_path), *NUMBER, "--agent", served.agent_id),
            folder=tmp_path,
            environment=environment_of(served.url),
        )
        (batch_id,) = served.lab.batches.all

    assert (ended.returncode, ended.stdout.decode()) == (0, f"{batch_id}\n")
    assert "looking whether the batch arrived" in ended.stderr.decode()


# --- What keeps a batch from being submitted --------------------------------------------------------------


async def test_every_problem_of_the_file_is_printed_and_nothing_is_submitted(tmp_path: Path) -> None:
    async with served_lab() as served:
        ended = await relevo(
            *("batch", "submit", written(tmp_path, FILE + ";x;y;z\n+573001234001;cliente-3;a;b\n")),
            *(*NUMBER, "--agent", served.agent_id),
            folder=tmp_path,
            environment=environment_of(served.url),
        )
        assert served.lab.batches.all == {}

    assert (ended.returncode, ended.stdout) == (1, b"")
    assert ended.stderr.decode().splitlines() == [
        "clientes.csv: line 5, phone_number: is missing",
        "clientes.csv: line 6, phone_number: is the number of line 2 again",
        'clientes.csv: line 6, id: "cliente-3" is the id of line 4 already',
        "relevo: 3 problem(s) in clientes.csv; nothing was submitted",
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (["--name", "x", "--agent", "agent_1"], {}, 2, "with --phone-number-id"),
        (NUMBER, {}, 2, "name an agent with --agent, or set elevenlabs.voice_agent_id"),
        (NUMBER[2:], {}, 2, "Missing option '--name'"),
        ([*NUMBER, "--name", " "], {}, 2, "name the batch with --name"),
        ([*NUMBER, "--at", "2020-01-01T10:00"], {}, 2, "2020-01-01 10:00-05:00 has passed"),
        (NUMBER, {"ELEVENLABS_API_KEY": ""}, 78, "ELEVENLABS_API_KEY"),
        ([*NUMBER, "--agent", "agent_1"], {}, 1, "relevo: nothing was submitted: no answer: "),
    ],
)
async def test_what_is_missing_is_named(
    arguments: list[str], environment: Mapping[str, str], code: int, sentence: str, tmp_path: Path
) -> None:
    ended = await relevo(
        *("batch", "submit", written(tmp_path), *arguments),
        folder=tmp_path,
        environment=environment_of("http://127.0.0.1:9", **environment),
    )

    assert ended.returncode == code
    assert sentence in ended.stderr.decode()
    assert ended.stdout == b""


# --- On a terminal ----------------------------------------------------------------------------------------


@define
class Terminal:
    """A command on a terminal of its own."""

    process: trio.Process
    _screen: int
    _shown: bytes = field(default=b"", init=False)

    @property
    def text(self) -> str:
        return CONTROLS.sub("", self._shown.decode(errors="replace"))

    @property
    def last_line(self) -> str:
        return self.text.splitlines()[-1]

    async def until(self, words: str) -> None:
        while words not in self.text:
            assert await self._read(), self.text

    async def end(self) -> int:
        while await self._read():
            pass
        return await self.process.wait()

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    async def _read(self) -> bool:
        await trio.lowlevel.wait_readable(self._screen)
        try:
            chunk = os.read(self._screen, 65536)
        except OSError:  # how Linux says that nobody writes to this terminal any more
            return False
        self._shown += chunk
        return bool(chunk)


@asynccontextmanager
async def on_terminal(served: ServedLab, folder: Path, *more: str) -> AsyncIterator[Terminal]:
    screen, side_of_command = pty.openpty()
    arguments = ["batch", "submit", written(folder), *NUMBER, "--agent", served.agent_id, *more]
    process = await trio.lowlevel.open_process(
        [str(RELEVO), *arguments],
        cwd=folder,
        env=dict(environment_of(served.url)),
        stdin=subprocess.DEVNULL,
        stdout=side_of_command,
        stderr=side_of_command,
        start_new_session=True,
    )
    os.close(side_of_command)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        os.close(screen)


async def test_a_terminal_shows_the_calls_until_they_are_over(tmp_path: Path) -> None:
    async with (
        served_lab(write_script=lambda _: CallScript(hold=True)) as served,
        on_terminal(served, tmp_path) as terminal,
    ):
        await terminal.until("in_progress, 3 dispatched")
        (batch,) = served.lab.batches.all.values()
        served.lab.batches.finish(batch, None)

        assert await terminal.end() == 0
        assert "3 recipients in clientes.csv, none with a problem" in terminal.text
        assert "completed: 3 of 3 calls are over" in terminal.text
        assert terminal.last_line == batch.id


async def test_ctrl_c_leaves_the_calls_alone(tmp_path: Path) -> None:
    async with (
        served_lab(write_script=lambda _: CallScript(hold=True)) as served,
        on_terminal(served, tmp_path) as terminal,
    ):
        await terminal.until("in_progress, 3 dispatched")
        terminal.press_ctrl_c()

        assert await terminal.end() == 0
        (batch,) = served.lab.batches.all.values()
        assert (batch.status, batch.finished) == ("in_progress", 0)
        assert "the calls go on" in terminal.text
        assert terminal.last_line == batch.id


async def test_ctrl_c_does_not_leave_a_submission_in_doubt(tmp_path: Path) -> None:
    async with served_lab(write_script=lambda _: CallScript(hold=True)) as served:
        pressed = trio.Event()

        @served.lab.app.before_request
        async def until_pressed() -> None:
            if request.path.endswith("/submit"):
                terminal.press_ctrl_c()
                await pressed.wait()

        async with on_terminal(served, tmp_path) as terminal:
            await terminal.until("wait until it is known")
            pressed.set()

            assert await terminal.end() == 0
            (batch,) = served.lab.batches.all.values()
            assert "dispatched" not in terminal.text
            assert terminal.last_line == batch.id


async def test_a_batch_for_later_is_not_waited_for(tmp_path: Path) -> None:
    async with (
        served_lab() as served,
        on_terminal(served, tmp_path, "--at", "2100-01-01T09:00") as terminal,
    ):
        assert await terminal.end() == 0
        (batch,) = served.lab.batches.all.values()
        assert batch.body["timezone"] == "America/Bogota"
        assert batch.scheduled_unix == 4_102_495_200
        assert terminal.last_line == batch.id
