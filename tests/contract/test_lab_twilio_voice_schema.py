"""What the simulated telephone answers over REST, held against the vendor's OpenAPI file."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.lab_twilio_voice import ADVISOR, APP, OURS, VoiceBench, on_sockets
from tests.contract.test_lab_twilio_schema import ACCOUNT, API, check

pytestmark = pytest.mark.specs

FOREVER = "<Say loop='0'>Espere</Say>"
ROOM = "<Dial><Conference endConferenceOnExit='true' participantLabel='caller' waitUrl=''>sala</Conference></Dial>"


@pytest.fixture(scope="module")
def specs() -> Path:
    folder = os.environ.get("RELEVO_SPECS")
    if not folder:
        pytest.skip("RELEVO_SPECS names no folder")
    return Path(folder) / "twilio"


def as_declared(answer: httpx.Response) -> httpx.Response:
    """The file forbids a `reason_conference_ended` of null, which its own description announces."""
    text = answer.text.replace(
        '"reason_conference_ended": null', '"reason_conference_ended": "last-participant-left"'
    )
    return httpx.Response(answer.status_code, text=text)


class Checked:
    """Sends requests and holds each answer against its operation in the vendor's file."""

    def __init__(self, bench: VoiceBench, specs: Path) -> None:
        self._bench, self._specs = bench, specs

    async def __call__(self, method: str, path: str, declared: str = "", **form: str) -> dict[str, Any]:
        answer = await self._bench.http.request(method, self._bench.path(path), data=form or None)
        check(self._specs, API, f"{ACCOUNT}/{declared or path}", method, as_declared(answer))
        found: dict[str, Any] = answer.json()
        return found


async def test_calls_and_recordings_have_the_vendors_shape(specs: Path) -> None:
    record = "<Record timeout='1' recordingStatusCallback='/recording'/>"
    async with on_sockets({"/incoming": FOREVER, "/record": record}) as bench:
        checked = Checked(bench, specs)
        caller = bench.call_in()
        await caller.answered.wait()
        await checked("post", "Calls.json", To=ADVISOR, From=OURS, Twiml="<Response/>")
        await checked("get", "Calls.json")
        await checked("get", f"Calls/{caller.sid}.json", "Calls/{Sid}.json")
        stream = {"Url": bench.office.stream_url, "Name": "oído"}
        await checked("post", f"Calls/{caller.sid}/Streams.json", "Calls/{CallSid}/Streams.json", **stream)
        await bench.office.talk()
        stop = f"Calls/{caller.sid}/Streams/oído.json"
        await checked("post", stop, "Calls/{CallSid}/Streams/{Sid}.json", Status="stopped")
        url = f"{bench.office.url}/record"
        await checked("post", f"Calls/{caller.sid}.json", "Calls/{Sid}.json", Url=url)
        await bench.until("record")
        bench.lab.voice.say(caller.sid, "Hola", 0.3)
        [request] = await bench.office.wait_for("/recording")
        sid = request.params["RecordingSid"]
        await checked("get", f"Recordings/{sid}.json", "Recordings/{Sid}.json")
        await checked("get", "Recordings.json")


async def test_conferences_have_the_vendors_shape(specs: Path) -> None:
    async with on_sockets({"/incoming": ROOM, "/agent": FOREVER}) as bench:
        checked = Checked(bench, specs)
        caller = bench.call_in()
        await bench.until("joined", caller)
        everybody = "Conferences/{ConferenceSid}/Participants.json"
        one = "Conferences/{ConferenceSid}/Participants/{CallSid}.json"
        form = {"From": OURS, "To": f"app:{APP.sid}", "Label": "agent"}
        await checked("post", "Conferences/sala/Participants.json", everybody, **form)
        await bench.until("started", caller)
        await checked("get", "Conferences.json")
        await checked("get", "Conferences/sala.json", "Conferences/{Sid}.json")
        await checked("get", "Conferences/sala/Participants.json", everybody)
        await checked("get", "Conferences/sala/Participants/agent.json", one)
        await checked("post", "Conferences/sala/Participants/caller.json", one, Hold="true")
        await checked("post", "Conferences/sala.json", "Conferences/{Sid}.json", Status="completed")


async def test_a_number_has_the_vendors_shape(specs: Path) -> None:
    async with on_sockets() as bench:
        checked = Checked(bench, specs)
        [number] = (await checked("get", "IncomingPhoneNumbers.json"))["incoming_phone_numbers"]
        path = f"IncomingPhoneNumbers/{number['sid']}.json"
        await checked("get", path, "IncomingPhoneNumbers/{Sid}.json")
        await checked("post", path, "IncomingPhoneNumbers/{Sid}.json", FriendlyName="Ventas")


def test_the_forms_read_parameters_of_the_vendors_names(specs: Path) -> None:
    document = json.loads((specs / API).read_text())
    used = {
        "Calls.json": {
            "To", "From", "Url", "Method", "Twiml", "ApplicationSid", "FallbackUrl", "FallbackMethod", "Timeout",
            "TimeLimit", "StatusCallback", "StatusCallbackMethod", "StatusCallbackEvent", "MachineDetection",
            "AsyncAmd", "AsyncAmdStatusCallback", "AsyncAmdStatusCallbackMethod", "SendDigits",
        },
        "Conferences/{ConferenceSid}/Participants.json": {
            "To", "From", "Label", "Muted", "StartConferenceOnEnter", "EndConferenceOnExit", "EarlyMedia", "WaitUrl",
            "WaitMethod", "Timeout", "TimeLimit", "ConferenceStatusCallback", "ConferenceStatusCallbackMethod",
            "ConferenceStatusCallbackEvent", "AmdStatusCallback", "AmdStatusCallbackMethod", "StatusCallbackEvent",
        },
        "Conferences/{ConferenceSid}/Participants/{CallSid}.json": {
            "Hold", "HoldUrl", "HoldMethod", "Muted", "EndConferenceOnExit", "AnnounceUrl", "AnnounceMethod",
        },
    }  # fmt: skip
    for path, names in used.items():
        content = document["paths"][f"{ACCOUNT}/{path}"]["post"]["requestBody"]["content"]
        assert names <= set(content["application/x-www-form-urlencoded"]["schema"]["properties"])
