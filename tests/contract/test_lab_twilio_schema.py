"""What the simulated Twilio answers, held against the vendor's OpenAPI files."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.whatsapp.messages import Media
from tests.contract.lab_twilio import PERSON, served

pytestmark = pytest.mark.specs

API, MESSAGING = "twilio_api_v2010.json", "twilio_messaging_v2.json"
ACCOUNT = "/2010-04-01/Accounts/{AccountSid}"


@pytest.fixture(scope="module")
def specs() -> Path:
    folder = os.environ.get("RELEVO_SPECS")
    if not folder:
        pytest.skip("RELEVO_SPECS names no folder")
    return Path(folder) / "twilio"


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema has a type or an enum that includes null."""
    if isinstance(node, list):
        return [as_json_schema(part) for part in node]
    if not isinstance(node, dict):
        return node
    schema = {key: as_json_schema(value) for key, value in node.items() if key != "nullable"}
    if not node.get("nullable"):
        return schema
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return {"anyOf": [schema, {"type": "null"}]}


def check(specs: Path, file: str, path: str, method: str, answer: httpx.Response) -> None:
    """Hold an answer against its operation, and see that it has every field which the schema names."""
    document = json.loads((specs / file).read_text())
    operation = document["paths"][path][method]
    declared = operation["responses"][str(answer.status_code)]
    schema = declared["content"]["application/json"]["schema"]
    whole = as_json_schema({**schema, "components": document["components"]})
    Draft202012Validator(whole).validate(answer.json())
    properties = schema.get("properties") or _resolve(document, schema["$ref"])["properties"]
    assert set(answer.json()) == set(properties)


def _resolve(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


async def test_a_created_message_has_the_vendors_shape(specs: Path) -> None:
    async with served() as bench:
        answer = await bench.create()

    check(specs, API, f"{ACCOUNT}/Messages.json", "post", answer)


async def test_messages_in_every_state_have_the_vendors_shape(specs: Path) -> None:
    async with served() as bench:
        inbound = bench.lab.write(PERSON, "Hola")
        await bench.create("leído")
        await bench.lab.wait_for_message(PERSON)
        await bench.create("fuera de la ventana", To="whatsapp:+573001234567")
        await bench.until(lambda: any(m.error_code for m in bench.lab.world.messages.values()))
        listed = await bench.http.get(bench.path("Messages.json"), params={"PageSize": 2})
        fetched = await bench.http.get(bench.path(f"Messages/{inbound}.json"))

    check(specs, API, f"{ACCOUNT}/Messages.json", "get", listed)
    check(specs, API, f"{ACCOUNT}/Messages/{{Sid}}.json", "get", fetched)


async def test_an_updated_message_has_the_vendors_shape(specs: Path) -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "Hola")
        answer = await bench.http.post(bench.path(f"Messages/{sid}.json"), data={"Body": ""})

    check(specs, API, f"{ACCOUNT}/Messages/{{Sid}}.json", "post", answer)


async def test_media_have_the_vendors_shape(specs: Path) -> None:
    async with served() as bench:
        media = Media(content_type="audio/ogg", content=b"OggS")
        sid = bench.lab.write(PERSON, media=media)
        listed = await bench.http.get(bench.path(f"Messages/{sid}/Media.json"))
        fetched = await bench.http.get(bench.path(f"Messages/{sid}/Media/{media.sid}.json"))

    check(specs, API, f"{ACCOUNT}/Messages/{{MessageSid}}/Media.json", "get", listed)
    check(specs, API, f"{ACCOUNT}/Messages/{{MessageSid}}/Media/{{Sid}}.json", "get", fetched)


async def test_the_account_has_the_vendors_shape(specs: Path) -> None:
    number, app = IncomingNumber(phone_number="+525512345678"), Application()
    async with served(numbers=[number], applications=[app]) as bench:
        account = await bench.http.get(bench.path("").removesuffix("/") + ".json")
        numbers = await bench.http.get(bench.path("IncomingPhoneNumbers.json"))
        apps = await bench.http.get(bench.path("Applications.json"))
        fetched = await bench.http.get(bench.path(f"Applications/{app.sid}.json"))

    check(specs, API, "/2010-04-01/Accounts/{Sid}.json", "get", account)
    check(specs, API, f"{ACCOUNT}/IncomingPhoneNumbers.json", "get", numbers)
    check(specs, API, f"{ACCOUNT}/Applications.json", "get", apps)
    check(specs, API, f"{ACCOUNT}/Applications/{{Sid}}.json", "get", fetched)


async def test_the_typing_indicator_has_the_vendors_shape(specs: Path) -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "Hola")
        form = {"channel": "whatsapp", "messageId": sid}
        answer = await bench.http.post("/v2/Indicators/Typing.json", data=form)

    check(specs, MESSAGING, "/v2/Indicators/Typing.json", "post", answer)


def test_a_create_reads_parameters_of_the_vendors_names(specs: Path) -> None:
    document = json.loads((specs / API).read_text())
    content = document["paths"][f"{ACCOUNT}/Messages.json"]["post"]["requestBody"]["content"]
    known = content["application/x-www-form-urlencoded"]["schema"]["properties"]
    used = {
        "To", "From", "Body", "MediaUrl", "ContentSid", "ContentVariables", "StatusCallback",
        "MessagingServiceSid", "ScheduleType", "SendAt",
    }  # fmt: skip

    assert used <= set(known)
