"""What comes of tokens, names and links at the voice routes: streams, sounds and recordings, for those who have them and for
those who guess; and nonsense of every kind, duly signed.
"""

import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from typing_extensions import override

from daemon.live_calls import voice_key
from daemon.settings import Secrets, Settings
from daemon.web.voice_links import RecordingLinks, StreamTokens
from tests.integration.relay import ADMIN_TOKEN, Relay
from tests.integration.test_voice_routes import POSTS
from tests.integration.voice_door import CALLER, LIMIT_S, VoiceDoor, media_stream, new_sid, start
from tests.postgres import until_row

pytestmark = pytest.mark.processes

KEY = voice_key(Settings(secrets=Secrets(admin_token=ADMIN_TOKEN)))
TOKENS = StreamTokens(KEY)
LINK_HOURS = 72
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Certificates take longer to read than a request takes."""

TRICKS = (
    "..",
    "%2e%2e",
    "..%2fconfig.toml",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5cconfig.toml",
    "%2fetc%2fpasswd",
    "....//config.toml",
    "hold-music.wav/",
    "hold-music.wav%00",
    "HOLD-MUSIC.WAV",
    "hold-music.wav%2f..",
    "0" * 64 + ".wav",
    "f" * 64,
    "%ff%fe",
    "x" * 5000,
    "a%0d%0aSet-Cookie:%20x=1",
)


# --- the agent's stream -----------------------------------------------------------------------------------


async def test_the_agents_leg_streams_with_its_token_and_a_strangers_is_let_go(door: VoiceDoor) -> None:
    _, live_call_id = await door.begin_call()
    token = TOKENS.token_of(live_call_id, 1)
    leg = {"CallSid": new_sid(), "From": "client:x", "c": str(live_call_id)}
    answered = await door.knock("/voice/agent", door.form(token=token, **leg))
    [connect, music, after] = answered.document
    [stream] = connect

    assert (connect.tag, dict(connect.attrib)) == ("Connect", {})
    assert (stream.tag, dict(stream.attrib)) == ("Stream", {"url": f"ws{door.url[4:]}/voice/stream"})
    assert [dict(parameter.attrib) for parameter in stream] == [{"name": "token", "value": token}]
    # What follows a lost stream: nothing that needs a daemon which may be dead.
    assert (music.tag, dict(music.attrib)) == ("Play", {})
    assert music.text.startswith(f"{door.url}/voice/audio/hold-music-")
    assert (after.tag, dict(after.attrib)) == ("Pause", {"length": "10"})

    foreign = StreamTokens(b"another daemon's key").token_of(live_call_id, 1)
    for wrong in (foreign, token[:-1], token + "A", "none", "." * 3, None):
        assert (await door.knock("/voice/agent", door.form(token=wrong, **leg))).verbs == []


async def code_after(door: VoiceDoor, *frames: str | bytes) -> int:
    """The code that a stream is closed with which says this."""
    async with media_stream(door.relay) as stream:
        await stream.say(*frames)
        return await stream.until_over()


async def test_a_stream_without_a_good_token_is_closed_with_1008(door: VoiceDoor) -> None:
    sid, live_call_id = await door.begin_talk()
    ended, over = await door.begin_call()
    await door.knock("/voice/status", door.form(CallSid=ended, CallStatus="completed"))
    await door.until_phase(over, "ended")
    used = TOKENS.token_of(live_call_id, 1)
    bad = {
        "used": used,
        "of a leg that is not": TOKENS.token_of(live_call_id, 2),
        "of a call that is over": TOKENS.token_of(over, 1),
        "of a call that is not": TOKENS.token_of(999_999, 1),
        "altered": used[:-1] + ("A" if used[-1] != "A" else "B"),
        "foreign": StreamTokens(b"another daemon's key").token_of(live_call_id, 1),
        "a recording's": RecordingLinks(KEY, "", "", LINK_HOURS).link_of(1).rpartition("/")[2],
        "none": "",
        "odd": "ñ\x00\ud800".encode(errors="replace").decode(),
    }
    for what, token in bad.items():
        assert await code_after(door, start(sid, token=token)) == 1008, what
    assert await code_after(door, start(sid)) == 1008
    # Nobody lost the line for it.
    assert await door.row(
        "SELECT phase, state -> 'legs' -> 0 ->> 'stage' FROM live_call WHERE id = %s", live_call_id
    ) == ("with_agent", "answered")


async def test_a_stream_of_nonsense_is_closed_with_1008(door: VoiceDoor) -> None:
    media = json.dumps({"event": "media", "media": {"payload": "!"}})
    for frames in (
        [media] * 101,
        ["nonsense"] * 101,
        [b"\x00\xff"] * 3 + ["[]"] * 101,
        ['{"event": "stop"}'] * 101,
    ):
        assert await code_after(door, *frames) == 1008
    async with media_stream(door.relay, path="/voice/streams") as stream:
        assert stream.refused_with == 404


# --- hold music and spoken sentences ----------------------------------------------------------------------


async def test_hold_music_loops_a_sound_that_is_there(door: VoiceDoor) -> None:
    by_get = await door.fetch(
        f"/voice/hold-music?AccountSid={door.relay.account.account_sid}&CallSid={new_sid()}"
    )
    by_post = await door.knock("/voice/hold-music", door.form(CallSid=new_sid()))
    [play, pause, again] = by_get.document

    assert by_post.response.content == by_get.response.content
    assert (play.tag, dict(play.attrib)) == ("Play", {"loop": "0"})
    assert (pause.tag, again.tag, again.text) == ("Pause", "Redirect", f"{door.url}/voice/hold-music")
    name = play.text.removeprefix(f"{door.url}/voice/audio/")
    sound = await door.fetch(f"/voice/audio/{name}", signature="")
    assert_is_sound(sound.response)
    assert name == f"hold-music-{sha256(sound.response.content).hexdigest()[:16]}.wav"
    # What changes under a name must not be kept by it.
    assert sound.response.headers["Cache-Control"] == "private, max-age=86400"
    for old in ("hold-music.wav", f"hold-music-{'0' * 16}.wav"):
        present = await door.fetch(f"/voice/audio/{old}", signature="")
        assert present.response.content == sound.response.content
        assert present.response.headers["Cache-Control"] == "no-store"


async def test_a_spoken_sentence_is_had_by_its_name_and_by_no_other(door: VoiceDoor) -> None:
    sid = new_sid()
    goodbye = await door.knock("/voice/menu", door.form(CallSid=sid))
    [play, _] = goodbye.document
    name = play.text.removeprefix(f"{door.url}/voice/audio/")
    assert_is_sound((await door.fetch(f"/voice/audio/{name}", signature="")).response)

    other = ("0" if name[0] != "0" else "1") + name[1:]
    for wrong in (*TRICKS, other, name.upper(), f"../audio/{name}", f"./{name}x", "", "config.toml"):
        answer = await door.fetch(f"/voice/audio/{wrong}", signature="")
        # A client may make one path of dots and slashes; what it asks for then is nowhere, or this very sound.
        if answer.response.request.url.path != f"/voice/audio/{name}":
            assert answer.status == 404, wrong


def assert_is_sound(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "audio/wav"
    assert response.content[:4] == b"RIFF"
    assert response.content[8:12] == b"WAVE"


# --- recordings -------------------------------------------------------------------------------------------


async def kept_recording(door: VoiceDoor) -> int:
    """A caller's message that was fetched from Twilio."""
    sid, live_call_id = await door.begin_call()
    recording = new_sid("RE")
    fields = {
        "CallSid": sid,
        "RecordingSid": recording,
        "RecordingStatus": "completed",
        "RecordingDuration": "7",
    }
    assert (
        await door.knock(f"/voice/voicemail/recording?c={live_call_id}", door.form(**fields))
    ).status == 204
    with trio.fail_after(LIMIT_S):
        await until_row(door.observer, "SELECT 1 FROM live_recording WHERE sid = %s", recording)
    (recording_id,) = await door.row(
        "UPDATE live_recording SET audio = 'RIFF', content_type = 'audio/x-wav', kept_at = now(), dropped_reason = NULL "
        "WHERE sid = %s RETURNING id",
        recording,
    )
    return int(recording_id)


def link_made(hours_ago: float, value: object) -> str:
    """The last part of a link that was made so long ago."""

    class Then(TimestampSigner):
        @override
        def get_timestamp(self) -> int:
            return int(datetime.now(UTC).timestamp() - hours_ago * 3600)

    made: str | bytes = URLSafeTimedSerializer(KEY, salt="relevo recording", signer=Then).dumps(value)
    return made if isinstance(made, str) else made.decode()


async def test_a_recording_is_had_by_its_link_alone_and_for_a_while(door: VoiceDoor) -> None:
    recording_id = await kept_recording(door)

    async def status(name: str) -> int:
        answer = await door.fetch(f"/voice/recordings/{name}", signature="")
        if answer.status == 200:
            assert answer.response.content == b"RIFF"
            assert answer.response.headers["Content-Type"] == "audio/x-wav"
            assert answer.response.headers["Cache-Control"] == "no-store"
        return answer.status

    link = RecordingLinks(KEY, door.url, "/voice/recordings", LINK_HOURS).link_of(recording_id)
    name = link.removeprefix(f"{door.url}/voice/recordings/")
    assert await status(name) == 200
    assert await status(link_made(LINK_HOURS - 0.1, recording_id)) == 200
    assert await status(link_made(LINK_HOURS + 0.1, recording_id)) == 404

    value, made_at, signature = name.split(".")
    other_value, other_time, other_signature = link_made(1, recording_id + 1).split(".")
    guesses = [
        str(recording_id),
        f"{value}.{made_at}",
        f"{other_value}.{made_at}.{signature}",
        f"{value}.{other_time}.{signature}",
        f"{value}.{made_at}.{other_signature}",
        f"{name}A",
        f"{name}/",
        TOKENS.token_of(recording_id, 1),
        RecordingLinks(b"another daemon's key", "", "", LINK_HOURS).link_of(recording_id).rpartition("/")[2],
        link_made(1, recording_id + 1000),
        link_made(1, str(recording_id)),
        link_made(1, [recording_id, 1]),
        link_made(1, 2**70),
        link_made(1, -1),
        *TRICKS,
    ]
    assert {guess: await status(guess) for guess in guesses} == dict.fromkeys(guesses, 404)


async def test_a_player_plays_a_recording_and_may_ask_for_parts(door: VoiceDoor) -> None:
    """A browser's own page for a sound keeps the answer's policy, and a player on iOS asks for parts."""
    recording_id = await kept_recording(door)
    link = RecordingLinks(KEY, door.url, "/voice/recordings", LINK_HOURS).link_of(recording_id)

    async def asked(wanted: str | None, *, method: str = "GET") -> httpx.Response:
        headers = {"Range": wanted} if wanted is not None else {}
        async with httpx.AsyncClient(timeout=LIMIT_S, verify=NO_TLS) as http:
            return await http.request(method, link, headers=headers)

    whole = await asked(None)
    policy = "default-src 'none'; media-src 'self'; frame-ancestors 'none'"
    assert whole.headers["Content-Security-Policy"] == policy
    assert (whole.headers["Accept-Ranges"], whole.headers["Content-Length"]) == ("bytes", "4")
    for wanted, part, content in (
        ("bytes=0-1", "bytes 0-1/4", b"RI"),
        ("bytes=2-", "bytes 2-3/4", b"FF"),
        ("bytes=-1", "bytes 3-3/4", b"F"),
        ("bytes=-99", "bytes 0-3/4", b"RIFF"),
        ("bytes=0-99", "bytes 0-3/4", b"RIFF"),
    ):
        answer = await asked(wanted)
        assert (answer.status_code, answer.content) == (206, content), wanted
        assert answer.headers["Content-Range"] == part
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["Content-Security-Policy"] == policy
        assert answer.headers["Content-Type"] == "audio/x-wav"
    beyond = await asked("bytes=4-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */4")
    assert beyond.json()["error"]["code"] == "no_such_part"
    # What cannot be read as a range counts as none (RFC 9110, section 14.2).
    for odd in ("pages=1-2", "bytes=x", "bytes=0-1,2-3"):
        assert ((await asked(odd)).status_code, (await asked(odd)).content) == (200, b"RIFF"), odd
    head = await asked(None, method="HEAD")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "4")
    # Everything else keeps the policy that allows nothing.
    music = await door.fetch("/voice/audio/hold-music.wav", signature="")
    assert "media-src" not in music.response.headers["Content-Security-Policy"]


# --- nonsense ---------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-1",
        str(2**63),
        "completed",
        "in-progress",
        "ringing",
        "absent",
        "participant-join",
        "participant-leave",
        "conference-end",
        "participant_hung_up",
        "caller",
        "agent",
        "advisor",
        "hangup",
        "#",
        "true",
        CALLER,
        *(new_sid(prefix) for prefix in ("CA", "CF", "RE", "SM")),
    ]
)
VALUES = st.one_of(
    WORDS, WORDS, st.text(max_size=30).filter(lambda text: text.isprintable() or "\x00" in text)
)
NAMES = st.sampled_from(
    sorted({name for fields in POSTS.values() for name in fields} | {"c", "l", "To", "Hold"})
)
FORMS = st.dictionaries(st.one_of(NAMES, NAMES, NAMES, st.text(max_size=9)), VALUES, max_size=8)
QUERIES = st.dictionaries(st.sampled_from(["c", "l", "token", "x"]), VALUES, max_size=4)


@settings(max_examples=60)
@given(
    path=st.sampled_from([*POSTS, "/voice/transfer/init"]),
    changes=FORMS,
    query=QUERIES,
    left_out=st.sets(NAMES, max_size=2),
)
def test_signed_nonsense_is_answered_and_harms_nobody(
    voice_relay: Relay, path: str, changes: Mapping[str, str], query: Mapping[str, str], left_out: set[str]
) -> None:
    good: dict[str, Any] = {**POSTS.get(path, {}), **changes}
    fields = {name: value for name, value in good.items() if name not in left_out}
    assert trio.run(_status_of, voice_relay, path, query, fields) in {200, 204, 400, 404, 409}


async def _status_of(relay: Relay, path: str, query: Mapping[str, str], fields: Mapping[str, str]) -> int:
    headers = {"Authorization": f"Bearer {relay.account.tool_token}"}
    async with httpx.AsyncClient(timeout=LIMIT_S, verify=NO_TLS) as http:
        door = VoiceDoor(relay, None, http)
        target = path + (f"?{httpx.QueryParams(query)}" if query else "")
        form = {**fields, "AccountSid": relay.account.account_sid}
        return (await door.knock(target, form, headers=headers)).status


async def test_nothing_crashed_in_all_that(door: VoiceDoor) -> None:
    """Last: of everything that was asked of the daemon here."""
    assert (await door.relay.status())["phase"] == "serving"
    for crash in ("request crashed", "connection crashed", "Traceback", "crashes again"):
        assert crash not in door.relay.log, door.relay.log[door.relay.log.index(crash) - 3000 :][:6000]
