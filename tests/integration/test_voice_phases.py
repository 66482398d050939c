"""The voice routes at other times and in other settings: a daemon that starts, drains or has lost its database, one without
a TwiML App, and one without a voice agent.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
from attrs import evolve
from psycopg import sql
from typing_extensions import override

from daemon.bootstrap import open_daemon
from daemon.lab.serving import LabAccount
from daemon.lifecycle import Lifecycle
from daemon.settings import load_settings
from daemon.store.connection import Connection
from tests.integration.relay import Relay, free_port
from tests.integration.test_voice_routes import POSTS
from tests.integration.voice_door import (
    LAURA,
    LIMIT_S,
    SETTINGS,
    VoiceDoor,
    knocking,
    media_stream,
    new_sid,
    running,
    start,
)

pytestmark = pytest.mark.processes


async def fetched(door: VoiceDoor) -> list[int]:
    """The statuses of what is fetched by GET."""
    account = door.relay.account.account_sid
    paths = [f"/voice/hold-music?AccountSid={account}", "/voice/audio/hold-music.wav", "/voice/recordings/x"]
    return [(await door.fetch(path)).status for path in paths]


# --- the database is away ---------------------------------------------------------------------------------


@asynccontextmanager
async def locked_out(server_url: str, database_url: str) -> AsyncIterator[None]:
    """Nobody gets into this database, or stays."""
    name = urlsplit(database_url).path[1:]
    connection = await Connection.connect(server_url, timeout_s=LIMIT_S, statement_timeout_s=LIMIT_S)
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    try:
        await connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            await connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
    finally:
        connection.close_now()


async def test_without_its_database_nothing_new_is_taken_and_a_call_goes_on(
    voice_relay: Relay, database_url: str
) -> None:
    async with knocking(voice_relay) as door:
        await door.answer_at(LAURA, answers="silent")
        sid, live_call_id = await door.begin_talk()
        new = await door.new_caller()
        dialled = await door.legs_to(LAURA)
        async with locked_out(database_url, voice_relay.database_url):
            refused = await door.knock("/voice/incoming", door.incoming(new))
            init = await door.ask_for_transfer({"CallSid": sid, "To": LAURA})
            # The person on the line is served.
            back = await door.knock(
                f"/voice/after?c={live_call_id}", door.form(CallSid=sid, CallStatus="in-progress")
            )
            told = await door.room_event(sid, live_call_id)
            statuses = await fetched(door)
        assert (refused.status, refused.problem["code"]) == (503, "store_unavailable")
        assert init.status_code == 503
        assert await door.legs_to(LAURA) == dialled
        assert back.verbs == ["Dial"]
        assert (told.status, told.problem["code"]) == (503, "store_unavailable")
        assert statuses == [200, 200, 404]

        with trio.fail_after(LIMIT_S):
            while (await door.knock("/voice/incoming", door.incoming(new))).status != 200:  # noqa: ASYNC110
                await trio.sleep(0.05)  # a pool does not say so when it is well again
    async with knocking(voice_relay) as door:
        assert await door.row("SELECT count(*) FROM live_call WHERE call_sid = %s", new) == (1,)
        door.callers += [sid, new]


# --- it starts --------------------------------------------------------------------------------------------


class Hesitant(Lifecycle):
    """Of a daemon whose start takes longer than anybody can look."""

    @override
    def begin_serving(self) -> None:
        pass


async def test_a_daemon_that_starts_lets_nobody_in(database: str, tmp_path: Path, voice_relay: Relay) -> None:
    relay = evolve(
        voice_relay, database_url=database, folder=tmp_path, public_port=free_port(), admin_port=free_port()
    )
    async with knocking(relay) as door, open_daemon(load_settings(*relay.configuration()), Hesitant()):
        answers = [await door.knock(path, door.form(**fields)) for path, fields in POSTS.items()]
        answers.append(await door.fetch(f"/voice/hold-music?AccountSid={relay.account.account_sid}"))
        init = await door.ask_for_transfer({"CallSid": new_sid()})

        assert {answer.status for answer in answers} == {init.status_code} == {503}
        assert {answer.problem["code"] for answer in answers} == {"not_serving"}
        assert await door.stored() == (0, 0, 0, None)


# --- without a voice agent --------------------------------------------------------------------------------


@pytest.fixture
def silent_relay(database_url: str, tmp_path: Path, voice_relay: Relay) -> Iterator[Relay]:
    with running(
        database_url, tmp_path, lab=voice_relay, settings="", account=LabAccount(voice_agent_id="")
    ) as relay:
        yield relay


async def test_without_a_voice_agent_there_are_no_voice_routes(silent_relay: Relay) -> None:
    async with knocking(silent_relay) as door:
        answers = [await door.knock(path, door.form(**fields)) for path, fields in POSTS.items()]
        assert {answer.status for answer in answers} == {404}
        assert await fetched(door) == [404] * 3
        assert (await door.ask_for_transfer({"CallSid": new_sid()})).status_code == 404
        async with media_stream(door.relay) as stream:
            assert stream.refused_with == 404


# --- without a TwiML App ----------------------------------------------------------------------------------


@pytest.fixture
def direct_relay(database_url: str, tmp_path: Path, voice_relay: Relay) -> Iterator[Relay]:
    with running(database_url, tmp_path, lab=voice_relay, account=LabAccount(twiml_app_sid="")) as relay:
        yield relay


async def test_in_direct_mode_the_agent_takes_the_callers_leg_and_a_drain_lets_it_talk(
    direct_relay: Relay,
) -> None:
    """A token is used once; and a daemon that ends takes no new calls, while who is on the line is served."""
    async with knocking(direct_relay) as door:
        sid = await door.new_caller()
        answered = await door.knock("/voice/incoming", door.incoming(sid))
        (live_call_id,) = await door.row("SELECT id FROM live_call WHERE call_sid = %s", sid)
        again = await door.knock("/voice/incoming", door.incoming(sid))
        connect, music, pause, redirect = answered.document
        [stream] = connect
        [parameter] = stream
        token = parameter.attrib["value"]

        assert (connect.tag, dict(connect.attrib)) == ("Connect", {})
        assert (stream.tag, dict(stream.attrib)) == ("Stream", {"url": f"ws{door.url[4:]}/voice/stream"})
        assert parameter.attrib["name"] == "token"
        # What follows a lost stream stands in the same document.
        assert (music.tag, pause.tag) == ("Play", "Pause")
        assert (redirect.tag, redirect.attrib["method"]) == ("Redirect", "POST")
        assert redirect.text == f"{door.url}/voice/after?c={live_call_id}"
        assert again.response.content == answered.response.content
        # Sent back to its stream later, the leg asks with the token in the query.
        later = await door.knock(f"/voice/agent?token={token}", door.form(CallSid=sid))
        assert later.response.content == answered.response.content

        async with media_stream(door.relay) as agent:
            await agent.say(start(sid, token=token))
            await agent.until_heard()
            await door.until_phase(live_call_id, "with_agent")
            for _ in range(2):
                async with media_stream(door.relay) as second:
                    await second.say(start(sid, token=token))
                    assert await second.until_over() == 1008

            async with trio.open_nursery() as nursery:
                codes: list[int] = []
                nursery.start_soon(_stop, direct_relay, codes)
                await until_drains(door)
                await _drained(door, sid, live_call_id)
            assert codes == [0]
        door.callers.clear()  # there is nobody left to tell


async def _stop(relay: Relay, codes: list[int]) -> None:
    codes.append(await relay.stop_daemon())


async def until_drains(door: VoiceDoor) -> None:
    """A process does not say so by itself."""
    while (await door.relay.status())["phase"] != "draining":  # noqa: ASYNC110
        await trio.sleep(0.02)


async def _drained(door: VoiceDoor, sid: str, live_call_id: int) -> None:
    refused = await door.knock("/voice/incoming", door.incoming(new_sid()))
    assert (refused.status, refused.problem["code"]) == (503, "not_serving")
    assert await door.row("SELECT count(*) FROM live_call") == (1,)
    caller = door.form(CallSid=sid, CallStatus="in-progress")
    assert (await door.knock(f"/voice/voicemail?c={live_call_id}", caller)).verbs[-1:] == ["Hangup"]
    assert (await door.room_event(sid, live_call_id)).status == 204
    assert (await door.ask_for_transfer({"CallSid": new_sid()})).status_code == 404
    assert await fetched(door) == [200, 200, 404]
    over = await door.knock("/voice/status", door.form(CallSid=sid, CallStatus="completed"))
    assert over.status == 204


# --- its time to drain is over ----------------------------------------------------------------------------


@pytest.fixture
def hurried_relay(database_url: str, tmp_path: Path, voice_relay: Relay) -> Iterator[Relay]:
    settings = f"[http]\ndrain_s = 0.3\n{SETTINGS}"
    with running(database_url, tmp_path, lab=voice_relay, settings=settings) as relay:
        yield relay


async def test_a_drain_tells_how_many_calls_it_leaves(hurried_relay: Relay) -> None:
    async with knocking(hurried_relay) as door:
        await door.begin_talk()
        assert await hurried_relay.stop_daemon() == 0
        door.callers.clear()  # there is nobody left to tell
    [told] = [line for line in hurried_relay.log.splitlines() if "left for the next daemon" in line]
    assert re.search(r'live_calls"?[=:] ?1\b', told), told
