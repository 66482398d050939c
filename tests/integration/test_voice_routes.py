"""The voice routes of a running daemon: who gets in, what the others are told, and what each is answered with."""

from collections.abc import Mapping

import pytest
import trio

from tests.integration.voice_door import CALLER, LIMIT_S, VoiceDoor, new_sid
from tests.postgres import until_row

pytestmark = pytest.mark.processes

SID, LEG_SID, ROOM_SID, RECORDING_SID = new_sid(), new_sid(), new_sid("CF"), new_sid("RE")
LEG = {"CallSid": LEG_SID, "CallStatus": "ringing", "SequenceNumber": "0"}
ROOM = {
    "ConferenceSid": ROOM_SID,
    "FriendlyName": f"conf_{SID}",
    "StatusCallbackEvent": "participant-leave",
    "ReasonParticipantLeft": "participant_hung_up",
    "CallSid": SID,
    "ParticipantLabel": "caller",
}
OF_CALLER = {"CallSid": SID, "CallStatus": "in-progress"}
KEYS = {"CallSid": SID, "Digits": "1"}
RECORDING = {"CallSid": SID, "RecordingSid": RECORDING_SID, "RecordingDuration": "7"}
POSTS: Mapping[str, Mapping[str, str]] = {
    "/voice/incoming": {"CallSid": SID, "From": CALLER, "To": "+525550000000", "CallStatus": "ringing"},
    "/voice/status": {"CallSid": SID, "CallStatus": "completed"},
    "/voice/agent": {"CallSid": LEG_SID, "token": "none"},
    "/voice/agent/status": LEG,
    "/voice/conference": ROOM,
    "/voice/after": OF_CALLER,
    "/voice/transfer/connect": OF_CALLER,
    "/voice/transfer/accept": KEYS,
    "/voice/transfer/declined": OF_CALLER,
    "/voice/transfer/status": LEG,
    "/voice/menu": OF_CALLER,
    "/voice/menu/choice": KEYS,
    "/voice/voicemail": OF_CALLER,
    "/voice/voicemail/done": {**RECORDING, "Digits": "#"},
    "/voice/voicemail/recording": {**RECORDING, "RecordingStatus": "completed"},
    "/voice/hold-music": {"CallSid": SID},
}
"""Every route of Twilio's that takes a form, with a good one."""

CALLBACKS = {
    "/voice/agent/status",
    "/voice/conference",
    "/voice/transfer/status",
    "/voice/voicemail/recording",
}


# --- the door ---------------------------------------------------------------------------------------------


async def test_nobody_but_twilio_gets_in_and_nothing_is_left_behind(door: VoiceDoor) -> None:
    sid, live_call_id = await door.begin_talk()
    before = await door.stored(live_call_id)
    legs = await door.legs_to("")
    answers = []
    for path, fields in POSTS.items():
        mine = {name: value.replace(SID, sid) for name, value in fields.items() if value != RECORDING_SID}
        good = door.form(**{**fields, **mine})
        if path == "/voice/incoming":
            good["CallSid"] = new_sid()
        target = f"{path}?c={live_call_id}&l=1"
        signed = door.signature(target, good)
        other = {**good, "AccountSid": "AC" + "9" * 32}
        nobody = {name: value for name, value in good.items() if name != "AccountSid"}
        answers += [
            await door.knock(target, good, signature=None),
            await door.knock(target, good, signature="bm9uZSBvZiB0aGVpcnM="),
            await door.knock(target, {**good, "CallSid": new_sid()}, signature=signed),
            await door.knock(f"{target}0", good, signature=signed),
            await door.knock(target, other),
            await door.knock(target, nobody),
        ]
    music = f"/voice/hold-music?AccountSid={door.relay.account.account_sid}"
    answers += [
        await door.fetch(music, signature=""),
        await door.fetch(music, signature=door.signature(f"{music}&x=1", {})),
        await door.fetch("/voice/hold-music"),
        await door.fetch(f"/voice/hold-music?AccountSid=AC{'9' * 32}"),
    ]

    assert {answer.status for answer in answers} == {403}
    assert {answer.problem["code"] for answer in answers} == {"bad_signature", "wrong_account"}
    assert await door.stored(live_call_id) == before
    assert await door.legs_to("") == legs


async def test_wrong_methods_types_and_sizes_have_their_codes(door: VoiceDoor) -> None:
    for path, fields in POSTS.items():
        good = door.form(**fields)
        for method in ("PUT", "DELETE", "PATCH", *(("GET",) if path != "/voice/hold-music" else ())):
            answer = await door.knock(path, good, method=method)
            assert answer.status == 405, (method, path)
            assert "POST" in answer.response.headers["Allow"]
        for content_type in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
            answer = await door.knock(path, good, headers={"Content-Type": content_type})
            assert answer.status == 415, path
        assert (await door.knock(path, {**good, "Extra": "x" * 70_000})).status == 413, path
        assert (await door.knock(path, {}, content="Body=%ff")).status == 400, path
    for path in ("/voice/audio/hold-music.wav", "/voice/recordings/x"):
        assert (await door.knock(path, door.form(), method="POST")).status == 405
    for content_type in ("text/plain", "multipart/form-data; boundary=x"):
        answered = await door.ask_for_transfer({}, content=b"{}", headers={"Content-Type": content_type})
        assert answered.status_code == 415
    assert (await door.ask_for_transfer({"CallSid": SID, "Reason": "x" * 70_000})).status_code == 413
    assert (await door.knock("/voice/transfer/init", {}, method="GET")).status == 405


BAD_FIELDS: list[tuple[str, dict[str, str | None]]] = [
    *[
        (path, {"CallSid": value})
        for path in POSTS
        if path != "/voice/hold-music"
        for value in (None, "SM1", "CA\x00")
    ],
    ("/voice/status", {"CallStatus": None}),
    ("/voice/status", {"CallStatus": "two words"}),
    ("/voice/agent", {"token": "with spaces"}),
    ("/voice/agent/status", {"SequenceNumber": "-1"}),
    ("/voice/transfer/status", {"CallStatus": None}),
    ("/voice/conference", {"FriendlyName": None}),
    ("/voice/conference", {"StatusCallbackEvent": None}),
    ("/voice/transfer/accept", {"Digits": "one"}),
    ("/voice/menu/choice", {"Digits": "99999999999999999999999999999999999"}),
    ("/voice/voicemail/recording", {"RecordingSid": "RE"}),
    ("/voice/voicemail/recording", {"RecordingStatus": None}),
    ("/voice/voicemail/done", {"RecordingDuration": "long"}),
]
NO_CALL_NEEDED = {("/voice/conference", "CallSid", None)}
"""A room's report is about a participant, or about none."""


async def test_a_field_that_does_not_parse_is_named(door: VoiceDoor) -> None:
    before = await door.stored()
    for path, changes in BAD_FIELDS:
        ((field, value),) = changes.items()
        if (path, field, value) in NO_CALL_NEEDED:
            continue
        answer = await door.knock(path, door.form(**{**POSTS[path], **changes}))
        assert (answer.status, answer.problem.get("field")) == (400, field), (path, changes)
    for path in POSTS.keys() - {"/voice/incoming", "/voice/status", "/voice/agent", "/voice/hold-music"}:
        answer = await door.knock(f"{path}?c=x", door.form(**POSTS[path]))
        assert (answer.status, answer.problem.get("field")) == (400, "c"), path
    assert await door.stored() == before


UNUSED = {
    "ConferenceSid": "?",
    "Hold": "perhaps",
    "Timestamp": "now",
    "ParticipantCallStatus": "gone to lunch",
    "ReasonConferenceEnded": "no reason",
    "DialCallStatus": "?!",
    "AnsweredBy": "<b>",
    "CallDuration": "1.5",
    "SipResponseCode": "none",
    "SequenceNumber": "4",
}
"""Fields of Twilio's that no call goes by, none as it should be but the last."""


async def test_a_field_that_nobody_uses_is_no_reason_to_refuse(door: VoiceDoor) -> None:
    sid, live_call_id = await door.begin_call()
    for path in sorted(CALLBACKS):
        form = door.form(**{**POSTS[path], **UNUSED, "CallSid": sid})
        assert (await door.knock(f"{path}?c={live_call_id}", form)).status == 204, path


async def test_fields_that_nobody_knows_change_nothing(door: VoiceDoor) -> None:
    """Twilio adds some without a word; the same call is told of both ways."""
    sid, live_call_id = await door.begin_call()
    changing = {"/voice/status", "/voice/conference", "/voice/after"}
    more = {"StirVerstat": "TN-Validation-Passed-A", "Ñandú": "á\x00&=%", "CallSid ": "x"}
    for path in POSTS.keys() - changing:
        fields = {**POSTS[path], "CallSid": sid}
        target = f"{path}?c={live_call_id}&l=9"
        first = await door.knock(target, door.form(**fields))
        second = await door.knock(f"{target}&z=9", door.form(**fields, **more))
        assert second.status == first.status, path
        assert second.response.content == first.response.content, path


async def test_a_report_of_a_call_that_is_not_there_is_taken(door: VoiceDoor) -> None:
    """Erased meanwhile, or another program's; it is told once only, and a refusal would be an error at Twilio."""
    for path in CALLBACKS:
        answer = await door.knock(f"{path}?c=999999&l=1", door.form(**POSTS[path]))
        assert answer.status == 204, path
        assert not answer.response.content
        assert (await door.knock(path, door.form(**POSTS[path]))).status == 204, path
    assert (await door.knock("/voice/status", door.form(**POSTS["/voice/status"]))).status == 204


# --- the caller's leg -------------------------------------------------------------------------------------


async def test_a_caller_goes_into_a_room_as_the_contract_says(door: VoiceDoor) -> None:
    sid = await door.new_caller()
    answered = await door.knock("/voice/incoming", door.incoming(sid))
    (live_call_id,) = await door.row("SELECT id FROM live_call WHERE call_sid = %s", sid)

    [dial] = answered.document
    [conference] = dial
    assert (dial.tag, conference.tag) == ("Dial", "Conference")
    assert dial.attrib.pop("timeLimit").isdigit()
    assert dial.attrib == {"action": f"{door.url}/voice/after?c={live_call_id}", "method": "POST"}
    assert conference.text == f"conf_{sid}"
    events = set(conference.attrib.pop("statusCallbackEvent").split())
    assert {"start", "end", "join", "leave"} <= events
    assert conference.attrib.pop("jitterBufferSize") == "small"
    assert conference.attrib == {
        "startConferenceOnEnter": "true",
        "endConferenceOnExit": "true",
        "waitUrl": f"{door.url}/voice/hold-music",
        "waitMethod": "GET",
        "beep": "false",
        "participantLabel": "caller",
        "statusCallback": f"{door.url}/voice/conference?c={live_call_id}",
    }


async def test_a_call_that_is_told_often_is_one_call_with_one_agent(door: VoiceDoor) -> None:
    sid = await door.new_caller()
    answers = []

    async def knock() -> None:
        answers.append(await door.knock("/voice/incoming", door.incoming(sid)))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(knock)
    await knock()
    with trio.fail_after(LIMIT_S):
        await until_row(
            door.observer,
            "SELECT 1 FROM live_call WHERE call_sid = %s AND state -> 'legs' -> 0 ->> 'stage' = 'answered'",
            sid,
        )
    await knock()

    assert [answer.status for answer in answers] == [200] * 7
    assert len({answer.response.content for answer in answers}) == 1
    calls, legs = await door.row(
        "SELECT count(*), max(jsonb_array_length(state -> 'legs')) FROM live_call WHERE call_sid = %s", sid
    )
    assert (calls, legs) == (1, 1)


async def test_nobody_is_told_of_a_call_before_it_is_committed(door: VoiceDoor) -> None:
    sid = await door.new_caller()
    answers = []

    async def knock() -> None:
        answers.append(await door.knock("/voice/incoming", door.incoming(sid)))

    async with trio.open_nursery() as nursery, door.observer.transaction():
        await door.observer.execute("LOCK TABLE live_call IN ACCESS EXCLUSIVE MODE")
        nursery.start_soon(knock)
        await until_row(
            door.observer,
            # What others do is shown as it was when the transaction first asked; their locks are shown as they are.
            "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'live_call'::regclass "
            "AND mode = 'RowExclusiveLock'",
        )
        assert not answers

    assert [answer.status for answer in answers] == [200]
    assert await door.row("SELECT count(*) FROM live_call WHERE call_sid = %s", sid) == (1,)


async def test_steps_out_of_order_end_politely(door: VoiceDoor) -> None:
    """A person is on each of these lines: last words in the agent's voice, and then the leg ends."""
    _, live_call_id = await door.begin_talk()
    before = await door.stored(live_call_id)
    for path in (
        "/voice/voicemail",
        "/voice/voicemail/done",
        "/voice/menu",
        "/voice/menu/choice",
        "/voice/transfer/connect",
        "/voice/transfer/accept",
    ):
        for query in (f"?c={live_call_id}&l=9", "?c=999999&l=9", ""):
            # A recording that there is would be kept all the same.
            fields = {name: value for name, value in POSTS[path].items() if name != "RecordingSid"}
            answer = await door.knock(path + query, door.form(**fields))
            assert answer.verbs[-1:] == ["Hangup"], (path, query)
            assert answer.verbs[:-1] in (["Play"], ["Say"]), (path, query)
    declined = await door.knock(f"/voice/transfer/declined?c={live_call_id}&l=9", door.form(**OF_CALLER))
    assert declined.verbs == ["Hangup"]
    assert await door.stored(live_call_id) == before


async def test_what_is_told_of_rooms_is_taken_whatever_it_says(door: VoiceDoor) -> None:
    sid, live_call_id = await door.begin_call()
    for changes in (
        {"StatusCallbackEvent": "conference-start", "CallSid": None, "ParticipantLabel": None},
        {"StatusCallbackEvent": "participant-join"},
        {"StatusCallbackEvent": "participant-join", "SequenceNumber": "1"},
        {"StatusCallbackEvent": "participant-hold"},
        {"StatusCallbackEvent": "participant-invented-since"},
        {"StatusCallbackEvent": "participant-leave", "ParticipantLabel": "somebody"},
        {
            "StatusCallbackEvent": "conference-end",
            "CallSid": None,
            "ReasonConferenceEnded": "last-participant-left",
        },
    ):
        answer = await door.room_event(sid, live_call_id, **changes)
        assert answer.status == 204
        assert not answer.response.content
        assert "Content-Length" not in answer.response.headers
    left = {"StatusCallbackEvent": "participant-leave", "ReasonParticipantLeft": "participant_hung_up"}
    # The first in the room brings the callback, and with another's no call is named: its room tells which.
    assert (await door.room_event(sid, None, **left)).status == 204
    await door.until_phase(live_call_id, "ended")
