"""`/voice/transfer/…` of a running daemon: who may ask for an advisor, in which order it is checked, and what an advisor's
leg and a caller's messages are answered with.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import trio

from tests.integration.voice_door import (
    CALLER,
    JESUS,
    LAURA,
    LAURO,
    LIMIT_S,
    STRANGER,
    Answered,
    VoiceDoor,
    new_sid,
    query_of,
)
from tests.postgres import until_row

pytestmark = pytest.mark.processes

MESSAGE = "Desvío iniciado"


async def init(door: VoiceDoor, **fields: Any) -> tuple[int, Mapping[str, Any]]:
    """Status and body."""
    response = await door.ask_for_transfer(fields)
    return response.status_code, response.json()


async def refusal(door: VoiceDoor, **fields: Any) -> tuple[int, str, str | None]:
    status, body = await init(door, **fields)
    return status, body["error"]["code"], body["error"].get("field")


async def advisors_leg(door: VoiceDoor, live_call_id: int) -> int:
    (leg,) = await door.row(
        "SELECT max((leg ->> 'ordinal')::int) FROM live_call, jsonb_array_elements(state -> 'legs') leg "
        "WHERE id = %s AND leg ->> 'role' = 'advisor'",
        live_call_id,
    )
    return int(leg)


# --- who may ask ------------------------------------------------------------------------------------------


async def test_whoever_has_no_tool_token_learns_nothing(door: VoiceDoor) -> None:
    token = door.relay.account.tool_token
    wrong = ["", "Bearer", "Bearer wrong", f"Bearer {token}x", f"Basic {token}", token, f"Bearer {token} x"]
    for given in wrong:
        for fields in ({"CallSid": new_sid()}, {"To": STRANGER}, {}):
            answer = await door.ask_for_transfer(fields, headers={"Authorization": given})
            assert answer.status_code == 401, given
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    # Twilio's signature is no token.
    sid = new_sid()
    assert (await door.knock("/voice/transfer/init", door.form(CallSid=sid))).status == 401
    known = await door.ask_for_transfer({"CallSid": sid}, headers={"Authorization": f"bearer {token}"})
    assert known.status_code == 404


async def test_what_is_wrong_is_told_in_the_contracts_order(door: VoiceDoor) -> None:
    """Each request has the faults of all that are told later, too."""
    await door.answer_at(LAURA, answers="silent")
    sid, live_call_id = await door.begin_talk()
    other, _ = await door.begin_call()
    rest = {"ConferenceName": f"conf_{other}", "To": STRANGER, "Advisor": "Nadie"}
    for field, value in (
        ("CallSid", ""),
        ("CallSid", 7),
        ("CallSid", "CA\x00"),
        ("CallSid", "CA" + "é" * 32),
    ):
        assert await refusal(door, **{**rest, field: value}) == (400, "bad_field", "CallSid")
    for field in ("To", "ConferenceName", "Advisor", "Reason"):
        for bad in (7, ["x"], {"x": 1}, "x" * 501):
            assert await refusal(door, **{"CallSid": sid, field: bad}) == (400, "bad_field", field)
    for body in (b"", b"nonsense", b"[]", b'"CallSid"', b"[" * 50_000, b"\xff"):
        answer = await door.ask_for_transfer({}, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json"), body
    assert await refusal(door, CallSid=new_sid(), **rest) == (404, "unknown_call", "CallSid")
    assert await refusal(door, CallSid=sid, **rest) == (409, "wrong_room", "ConferenceName")
    del rest["ConferenceName"]
    assert await refusal(door, CallSid=sid, **rest) == (403, "no_advisor", "Advisor")
    for stranger in (STRANGER, "nobody", f"{LAURA}0", CALLER, door.relay.account.voice_number):
        assert await refusal(door, CallSid=sid, To=stranger) == (403, "no_advisor", "To")
    assert await refusal(door, CallSid=sid, To=LAURA, Advisor="Nadie") == (403, "no_advisor", "Advisor")
    await door.fault("rest_refused", on="call.create", code=21216)
    status, refused = await init(door, CallSid=sid, Advisor="Laura")
    assert status == 502
    assert refused["success"] is False
    assert isinstance(refused["message"], str)
    assert refused.keys() == {"success", "message"}

    await door.until_phase(live_call_id, "with_agent")
    await door.end_calls()
    assert await refusal(door, CallSid=sid, ConferenceName="x", To=STRANGER) == (409, "call_ended", "CallSid")
    assert not [leg for number in (STRANGER, LAURA) for leg in await door.legs_to(number)]


async def test_what_is_missing_is_asked_for_in_a_sentence(door: VoiceDoor) -> None:
    for given in ({}, {"CallSid": "x"}):
        _, body = await init(door, **given)
        assert "the SID of the caller's call" in body["error"]["message"]
    status, body = await init(door, CallSid="CA" + "0" * 32)
    assert (status, body["error"]["code"]) == (404, "unknown_call")


# --- an advisor is called ---------------------------------------------------------------------------------


async def test_an_advisor_is_called_once_however_it_is_asked_for(door: VoiceDoor) -> None:
    await door.answer_at(LAURA, answers="silent")
    sid, _ = await door.begin_talk()
    before = len(await door.legs_to(LAURA))
    asked = {
        "CallSid": sid,
        "To": "+52 1 55 9999 0002",
        "ConferenceName": f"conf_{sid}",
        "Reason": "á\x00\ud800 &<",
    }
    content = (
        b'{"CallSid":"%b","To":"+52 1 55 9999 0002","Reason":"\\u0000\\ud800 &<>","More":[1]}' % sid.encode()
    )
    first = await door.ask_for_transfer({}, content=content, headers={"Content-Type": "application/json"})
    form = {name: value for name, value in asked.items() if name != "Reason"}
    again = [
        await door.ask_for_transfer({}, data=form),
        await door.ask_for_transfer({"CallSid": sid}),
        await door.ask_for_transfer({"CallSid": sid, "Advisor": "jesús"}),
    ]

    [leg] = (await door.legs_to(LAURA))[before:]
    for answer in [first, *again]:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {"success": True, "message": MESSAGE, "callSid": leg["sid"]}
        assert answer.content == first.content
    assert not await door.legs_to(JESUS)
    assert (await refusal(door, CallSid=sid, To=STRANGER))[0] == 403


async def test_a_name_may_be_sent_as_it_is_typed(door: VoiceDoor) -> None:
    """By `curl -d Advisor=Jesús`, which encodes nothing."""
    await door.answer_at(JESUS, answers="silent")
    sid, _ = await door.begin_talk()

    async def sent(name: bytes) -> httpx.Response:
        content = b"CallSid=%b&Advisor=%b" % (sid.encode(), name)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await door.ask_for_transfer({}, content=content, headers=headers)

    latin = await sent("Jesús".encode("latin-1"))
    assert (latin.status_code, latin.json()["error"]["code"]) == (400, "bad_form")
    assert "UTF-8" in latin.json()["error"]["message"]
    assert (await sent("Nadié".encode())).json()["error"]["code"] == "no_advisor"
    raw, encoded = await sent("Jesús".encode()), await sent(b"Jes%C3%BAs")
    assert (raw.status_code, encoded.content) == (200, raw.content)


async def test_nobody_is_told_of_a_dial_before_it_is_committed(door: VoiceDoor) -> None:
    """The advisor is called all the same, since a person waits; and told again the program learns of that very leg."""
    await door.answer_at(LAURA, answers="silent")
    sid, _ = await door.begin_talk()
    before = len(await door.legs_to(LAURA))
    async with door.observer.transaction():
        await door.observer.execute("LOCK TABLE live_call IN SHARE MODE")
        assert await refusal(door, CallSid=sid, To=LAURA) == (503, "store_unavailable", None)
    status, body = await init(door, CallSid=sid, To=LAURA)

    [leg] = (await door.legs_to(LAURA))[before:]
    assert (status, body["callSid"]) == (200, leg["sid"])


async def test_a_number_means_its_owner_and_not_whoever_is_called_alike(door: VoiceDoor) -> None:
    await door.answer_at(LAURA, answers="silent")
    await door.answer_at(LAURO, answers="silent")
    for _ in range(2):
        sid, _ = await door.begin_talk()
        before = len(await door.legs_to(LAURO))
        status, _ = await init(door, CallSid=sid, To=LAURA)
        assert (status, len(await door.legs_to(LAURO))) == (200, before)
        await door.end_calls()


async def ringing(door: VoiceDoor, reason: str = "Factura") -> tuple[str, int, str, int]:
    """A call whose advisor's telephone rings: the caller's leg, the call, the advisor's leg and its number in the call."""
    await door.answer_at(LAURA, answers="silent")
    sid, live_call_id = await door.begin_talk()
    status, body = await init(door, CallSid=sid, To=LAURA, Reason=reason)
    assert status == 200
    return sid, live_call_id, body["callSid"], await advisors_leg(door, live_call_id)


async def step(door: VoiceDoor, name: str, of: str, call_sid: str, **fields: str) -> Answered:
    return await door.knock(f"/voice/transfer/{name}{of}", door.form(CallSid=call_sid, **fields))


async def test_an_advisor_presses_one_and_comes_into_the_callers_room(door: VoiceDoor) -> None:
    sid, live_call_id, advisor, leg = await ringing(door)
    of = f"?c={live_call_id}&l={leg}"
    asks = [await step(door, "connect", of, advisor, CallStatus="in-progress") for _ in range(2)]
    first, again, otherwise = asks[0].document

    assert asks[1].response.content == asks[0].response.content
    for gather in (first, again):
        assert gather.tag == "Gather"
        assert gather.attrib["input"] == "dtmf"
        assert gather.attrib["numDigits"] == "1"
        assert gather.attrib["action"] == f"{door.url}/voice/transfer/accept{of}"
        assert {said.tag for said in gather} == {"Play"}
    assert (len(first), len(again)) == (2, 1)
    assert otherwise.tag == "Redirect"
    assert otherwise.text == f"{door.url}/voice/transfer/declined{of}"

    rooms = [await step(door, "accept", of, advisor, Digits="1") for _ in range(2)]
    [dial] = rooms[0].document
    [conference] = dial
    assert rooms[1].response.content == rooms[0].response.content
    assert dial.attrib.keys() == {"timeLimit"}
    assert conference.text == f"conf_{sid}"
    assert conference.attrib["participantLabel"] == "advisor"
    assert conference.attrib["endConferenceOnExit"] == "false"
    assert conference.attrib["beep"] == "false"
    assert query_of(conference.attrib["statusCallback"]) == {"c": str(live_call_id)}

    joined = await door.room_event(sid, live_call_id, CallSid=advisor, ParticipantLabel="advisor")
    assert joined.status == 204
    await door.until_phase(live_call_id, "with_advisor")
    for fields in ({}, {"To": STRANGER}, {"Advisor": "Nadie"}):
        assert await refusal(door, CallSid=sid, **fields) == (409, "not_now", "CallSid")


async def test_an_advisor_hears_who_is_calling_and_why_even_without_the_agents_voice(door: VoiceDoor) -> None:
    """Said by Twilio's voice where the sentence cannot be had in the agent's, and so to be read here."""
    async with door.speechless():
        _, live_call_id, advisor, leg = await ringing(door, "Factura <7> & más")
        asked = await step(door, "connect", f"?c={live_call_id}&l={leg}", advisor, CallStatus="in-progress")
    [whisper, press_one] = asked.document[0]
    assert (whisper.tag, press_one.tag) == ("Say", "Play")
    assert CALLER[-4:] in whisper.text
    assert CALLER[-7:] not in whisper.text
    assert "Factura <7> & más" in whisper.text


async def test_any_other_key_brings_the_question_back(door: VoiceDoor) -> None:
    _, live_call_id, advisor, leg = await ringing(door)
    of = f"?c={live_call_id}&l={leg}"
    asked = await step(door, "connect", of, advisor, CallStatus="in-progress")
    slipped = await step(door, "accept", of, advisor, Digits="5")
    assert slipped.response.content == asked.response.content
    accepted = await step(door, "accept", of, advisor, Digits="1")
    assert accepted.verbs == ["Dial"]


@pytest.mark.parametrize("how", ["declined", "status"])
async def test_whoever_does_not_press_one_is_no_advisor(door: VoiceDoor, how: str) -> None:
    _, live_call_id, advisor, leg = await ringing(door)
    of = f"?c={live_call_id}&l={leg}"
    await step(door, "connect", of, advisor, CallStatus="in-progress")
    if how == "status":
        told = await step(door, "status", of, advisor, CallStatus="completed", SequenceNumber="3")
        assert (told.status, told.response.content) == (204, b"")
    else:
        answer = await step(door, how, of, advisor)
        assert answer.verbs == ["Hangup"]
    await door.until_phase(live_call_id, "with_agent")
    late = await step(door, "accept", of, advisor, Digits="1")
    assert late.verbs == ["Play", "Hangup"]


# --- a message is left ------------------------------------------------------------------------------------


async def test_a_message_is_left_by_the_menu(door: VoiceDoor) -> None:
    sid, live_call_id = await door.begin_talk()
    of = f"?c={live_call_id}"
    caller = door.form(CallSid=sid, CallStatus="in-progress")
    # Twice off the line: the agent is put back once, then there is the menu.
    back = await door.knock(f"/voice/after{of}", caller)
    menu = await door.knock(f"/voice/after{of}", caller)
    assert (back.verbs, menu.verbs) == (["Dial"], ["Gather", "Redirect"])
    assert menu.document[0].attrib["action"] == f"{door.url}/voice/menu/choice{of}"
    assert (await door.knock(f"/voice/menu{of}", caller)).response.content == menu.response.content
    assert await refusal(door, CallSid=sid, To=STRANGER) == (409, "not_now", "CallSid")

    voicemail = await door.knock(f"/voice/menu/choice{of}", door.form(CallSid=sid, Digits="1"))
    assert voicemail.verbs == ["Play", "Record", "Play", "Hangup"]
    record = voicemail.document[1].attrib
    assert record["action"] == f"{door.url}/voice/voicemail/done{of}"
    assert record["recordingStatusCallback"] == f"{door.url}/voice/voicemail/recording{of}"
    assert record["maxLength"] == "120"
    again = await door.knock(f"/voice/voicemail{of}", caller)
    assert again.response.content == voicemail.response.content

    recording = new_sid("RE")
    ready = {"RecordingSid": recording, "RecordingDuration": "7"}
    thanks = await door.knock(f"/voice/voicemail/done{of}", door.form(CallSid=sid, Digits="#", **ready))
    assert thanks.verbs == ["Play", "Hangup"]
    for status in ("in-progress", "completed", "completed", "absent"):
        form = door.form(CallSid=sid, RecordingStatus=status, **ready)
        assert (await door.knock(f"/voice/voicemail/recording{of}", form)).status == 204
    with trio.fail_after(LIMIT_S):
        await until_row(
            door.observer, "SELECT 1 FROM live_recording WHERE sid = %s AND duration_s = 7", recording
        )
    assert await door.row("SELECT count(*) FROM live_recording WHERE live_call_id = %s", live_call_id) == (1,)


async def test_the_menu_says_goodbye_to_whoever_presses_nothing(door: VoiceDoor) -> None:
    sid, live_call_id = await door.begin_call()
    of = f"?c={live_call_id}"
    for _ in range(2):
        await door.knock(f"/voice/after{of}", door.form(CallSid=sid, CallStatus="in-progress"))
    answer = await door.knock(f"/voice/menu/choice{of}", door.form(CallSid=sid))
    assert answer.verbs == ["Play", "Hangup"]
    out_of_order = await door.knock(f"/voice/voicemail{of}", door.form(CallSid=sid))
    assert out_of_order.verbs == ["Play", "Hangup"]
