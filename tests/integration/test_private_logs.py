"""The log of a whole run, failures included and at its most talkative, holds nothing about anybody.

Nor do the addresses that the daemon asks its vendors for, with one exception: Twilio's list of messages can be
searched by number in no other way than by its query (Twilio docs: messaging/api/message-resource, read multiple).
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote_plus, urlencode

import httpx
import pytest
import trio
from attrs import define, field
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from daemon.live_calls import voice_key
from daemon.settings import Secrets, Settings
from daemon.web.voice_links import StreamTokens
from tests.integration.relay import ADMIN_TOKEN, Relay
from tests.integration.voice_door import media_stream, start

LIMIT_S = 120
SETTINGS = """
[log]
level = "debug"
format = "json"
[elevenlabs]
refused_retry_first_s = 1
[transfer]
ring_timeout_s = 15
[[transfer.advisors]]
name = "Quintanilla"
phone = "+525587412369"
"""

CALLED, REFUSED, WRITER, FORGER, UNFOLLOWED, CALLER, ADVISOR = (
    "+573008642975",
    "+573117536841",
    "+525598761324",
    "+5491187654329",
    "+12025558437",
    "+573204567891",
    "+525587412369",
)
PHONES = [CALLED, REFUSED, WRITER, FORGER, UNFOLLOWED, CALLER, ADVISOR]
NAMES = ["Zenobia", "Quintanilla", "Hermenegilda"]
WORDS = [
    "jirafa",
    "cormorán",
    "ornitorrinco",
    "marsopa",
    "avutarda",
    "zarigüeya",
    "salamandra",
    "quebrantahuesos",
    "colibrí",
    "vicuña",
]
# What the simulated agent says of its own accord.
AGENT_WORDS = ["cotización", "preguntó", "duda", "tono", "asesor"]
TOKENS = StreamTokens(voice_key(Settings(secrets=Secrets(admin_token=ADMIN_TOKEN))))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

pytestmark = pytest.mark.processes


@define(eq=False)
class Listener:
    """Stands between the daemon and a vendor, and notes the first line of every request."""

    port: int
    targets: list[str] = field(factory=list)

    async def run(self, *, task_status: trio.TaskStatus[int]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listener.socket.getsockname()[1])
        await trio.serve_listeners(self._pass_on, [listener])

    async def _pass_on(self, client: trio.SocketStream) -> None:
        vendor = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with vendor, trio.open_nursery() as nursery:
            nursery.start_soon(self._copy, client, vendor, True)
            await self._copy(vendor, client, False)
            nursery.cancel_scope.cancel()

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, notes: bool) -> None:  # noqa: FBT001
        try:
            async for octets in source:
                if notes:
                    found = re.findall(rb"(?:^|\n)(?:GET|POST|PUT|PATCH|DELETE) (\S+) HTTP/1.1\r\n", octets)
                    self.targets.extend(target.decode() for target in found)
                await sink.send_all(octets)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@define(eq=False, kw_only=True)
class Run:
    """One daemon whose talk with its vendors is listened to.

    Attributes:
        asked: the addresses that Twilio was given by the daemon.
        secrets: what opens something that is private, as it came about.
    """

    relay: Relay
    twilio: str
    elevenlabs: str
    listeners: list[Listener]
    asked: list[str] = field(factory=list)
    secrets: list[str] = field(factory=list)

    async def fault(self, lab: str, name: str, **details: float | str) -> None:
        answer = await self.relay.http.put(f"{lab}/faults/{name}", json={"times": 1, "details": details})
        answer.raise_for_status()

    async def knock(self, path: str, fields: Mapping[str, str], **headers: str) -> int:
        """A request of Twilio's, or of somebody who would be it."""
        url = f"http://127.0.0.1:{self.relay.public_port}{path}"
        signature = RequestValidator(self.relay.account.auth_token).compute_signature(url, fields)
        answer = await self.relay.http.post(
            url, content=urlencode(fields), headers={**FORM, "X-Twilio-Signature": signature, **headers}
        )
        return answer.status_code

    async def call(self, phone: str, word: str) -> None:
        """A call that is over, about `word`, by somebody with a name."""
        await self.relay.post(
            f"{self.elevenlabs}/calls",
            {
                "agent_id": self.relay.account.voice_agent_id,
                "phone_number": phone,
                "conversation_initiation_client_data": {
                    "dynamic_variables": {"name": "Zenobia Quintanilla", "product": word, "alterno": phone}
                },
                "script": {
                    "summary": f"Zenobia preguntó por la {word}; su número es {phone}.",
                    "title": f"La {word} de Zenobia",
                    "lines": [{"role": "user", "text": f"Soy Zenobia, quiero la {word}", "at_s": 1}],
                    "collected": {"next_step": f"Enviar la {word}", "telefono": phone},
                },
            },
        )

    async def write(self, phone: str, body: str) -> None:
        await self.relay.post(
            f"{self.twilio}/customers/{phone}/messages", {"body": body, "profile_name": "Hermenegilda"}
        )

    async def inbox(self, phone: str, count: int) -> list[str]:
        """What a customer's telephone has received, once there are so many."""
        return await self.said(phone, count, of="inbox")

    async def said(self, phone: str, count: int, of: str = "talk") -> list[str]:
        url = f"{self.twilio}/customers/{phone}/messages"
        found = await self.relay.get(url, of=of, count=count, wait_s="60")
        bodies = [message["body"] for message in found["messages"]]
        assert len(bodies) >= count
        return bodies


@asynccontextmanager
async def listened_to(database: str, folder: Path) -> AsyncIterator[Run]:
    async with httpx.AsyncClient(timeout=70.0) as http, trio.open_nursery() as nursery:
        relay = Relay(database_url=database, folder=folder, http=http, settings=SETTINGS)
        try:
            await relay.start_lab()
            run = Run(relay=relay, twilio=relay.twilio_lab, elevenlabs=relay.elevenlabs_lab, listeners=[])
            for port in ("twilio_port", "elevenlabs_port"):
                listener = Listener(getattr(relay, port))
                setattr(relay, port, await nursery.start(listener.run))
                run.listeners.append(listener)
            await relay.start_daemon()
            yield run
        finally:
            relay.stop()
            nursery.cancel_scope.cancel()


async def live(run: Run) -> None:
    """A customer is called, gets the opening, writes and is answered; another one just writes."""
    await run.call(CALLED, "jirafa")
    assert "jirafa" in " ".join(await run.inbox(CALLED, 1))
    await run.write(CALLED, "Soy Zenobia, ¿y el cormorán? Mi número es 300 864 2975 duda #1")
    await run.inbox(CALLED, 2)
    await run.write(WRITER, "Hola, busco un ornitorrinco, llame al +52 55 9876 1324 duda #2")
    await run.inbox(WRITER, 1)


async def talk(run: Run) -> None:
    """A caller who lets nobody finish wants a person, whose line is busy, and leaves a message; strangers would listen."""
    busy = {"calls": [{"answers": "busy", "answer_after_s": 0}]}
    (await run.relay.http.put(f"{run.twilio}/lines/{ADVISOR}", json=busy)).raise_for_status()
    steps = [
        {
            "at": "agent_speaks@agent",
            "wait_s": 0.3,
            "say": "Soy Zenobia, quiero un asesor por el colibrí",
            "say_s": 1.5,
        },
        {
            "at": "agent_speaks:otro asesor@agent",
            "wait_s": 0.3,
            "say": "Quiero dejar un mensaje",
            "say_s": 1.0,
        },
        {"at": "record", "wait_s": 0.3, "say": "Zenobia por la vicuña, 320 456 7891", "say_s": 2.0},
        {"wait_s": 0.5, "hang_up": True},
    ]
    call = await run.relay.post(f"{run.twilio}/calls", {"sender": CALLER, "script": {"steps": steps}})
    # Free text, which WhatsApp takes and then refuses: the advisor has not written.
    [notice, *_] = await run.said(ADVISOR, 1)
    [link] = re.findall(r"http\S+/voice/recordings/[^\s.]+\.[^\s.]+\.[\w-]+", notice)
    assert (await run.relay.http.get(link)).status_code == 200
    assert (await run.relay.http.get(f"{link}x")).status_code == 404
    run.secrets.append(link.rpartition("/")[2])
    books = await run.relay.get(f"{run.twilio}/books/webhooks", last=10_000)
    run.asked.extend(entry["url"] for entry in books["entries"])
    assert any("/voice/audio/" in url for url in run.asked), call["sid"]
    async with media_stream(run.relay) as stream:
        await stream.say(start(f"{CALLER} colibrí", token="vicuña", To=ADVISOR))
        assert await stream.until_over() == 1008


async def fail(run: Run) -> None:
    """Whatever goes wrong between the vendors and the daemon."""
    await run.fault(run.elevenlabs, "crash_mid_answer")
    await run.fault(run.twilio, "rest_500_after")
    await run.write(WRITER, "La marsopa, por favor duda #3")
    await run.inbox(WRITER, 2)
    await run.fault(run.twilio, "message_failed", code=63049)
    await run.write(WRITER, "La avutarda, por favor duda #4")
    # Three questions and their answers, the last of which arrives nowhere.
    await run.said(WRITER, 6)
    await run.fault(run.twilio, "rest_refused", code=21211)
    await run.call(REFUSED, "zarigüeya")
    await run.fault(run.elevenlabs, "rest_500", path="conversations")
    await run.fault(run.elevenlabs, "webhook_forged")
    await run.call(UNFOLLOWED, "salamandra")
    await run.inbox(UNFOLLOWED, 1)
    await run.fault(run.twilio, "webhook_forged")
    await run.fault(run.elevenlabs, "upgrade_401")
    await run.write(FORGER, "Un quebrantahuesos duda #5")
    await run.inbox(FORGER, 1)


async def knock(run: Run) -> None:
    """Strangers, and vendors with bad fields, at both listeners."""
    relay = run.relay
    incoming = "/api/webhook/twilio/incoming"
    fields = {
        "MessageSid": "SM" + "0" * 32,
        "AccountSid": relay.account.account_sid,
        "From": f"whatsapp:{FORGER}",
        "To": f"whatsapp:{relay.account.whatsapp_from}",
        "Body": "un quebrantahuesos",
        "ProfileName": "Hermenegilda\n\x1b[2J",
        "NumMedia": "0",
    }
    assert await run.knock(incoming, fields, **{"X-Twilio-Signature": "forged"}) == 403
    assert await run.knock(incoming, {**fields, "From": f"whatsapp:{FORGER}x"}) == 400
    assert await run.knock(incoming, {**fields, "MessageSid": FORGER}) == 400
    assert await run.knock(f"{incoming}?To={FORGER}", {**fields, "AccountSid": "AC" + "0" * 32}) == 403
    assert await run.knock(f"/api/{FORGER}?Body=quebrantahuesos", fields) == 404
    assert await run.knock(incoming, {**fields, "Body": "quebrantahuesos " * 10_000}) == 413
    public, admin = (f"http://127.0.0.1:{port}" for port in (relay.public_port, relay.admin_port))
    transcript = json.dumps(
        {"type": "post_call_transcription", "data": {"user": FORGER, "text": "zarigüeya"}}
    )
    json_type = {"Content-Type": "application/json", "ElevenLabs-Signature": "t=1,v0=forged"}
    answer = await relay.http.post(f"{public}/api/webhook/elevenlabs", content=transcript, headers=json_type)
    assert answer.status_code == 401
    for headers in ({"Authorization": f"Bearer {ADMIN_TOKEN}x"}, {"Authorization": f"Bearer {ADMIN_TOKEN}"}):
        await relay.http.post(f"{admin}/admin/conversations/find", json={"phone": WRITER}, headers=headers)
        await relay.http.get(f"{admin}/admin/conversations", headers=headers)
        await relay.http.get(f"{admin}/admin/conversations/1", headers=headers)
    page = await relay.http.get(f"{admin}/admin", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert page.status_code == 200
    assert "en servicio" in page.text


def assert_nothing_private(text: str, secrets: list[str]) -> None:
    """The last seven digits in any grouping are more than the four that may be shown."""
    for phone in PHONES:
        digits = r"[\s().+%-]{0,3}".join(phone[-7:])
        assert not re.search(digits, text), phone
    folded = text.casefold()
    for word in [*NAMES, *WORDS, *AGENT_WORDS, *secrets]:
        for written in (word, json.dumps(word)[1:-1]):
            assert written.casefold() not in folded, word


async def test_a_whole_runs_log_holds_nothing_about_anybody(database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with listened_to(database, tmp_path) as run:
            async with trio.open_nursery() as nursery:
                for part in (talk, live, knock):
                    nursery.start_soon(part, run)
            # What fails now fails in nobody's call.
            await fail(run)
            assert await run.relay.stop_daemon() == 0
            account, log = run.relay.account, run.relay.log
            targets = [target for listener in run.listeners for target in listener.targets]

    lines = [json.loads(line) for line in log.splitlines()]
    events = {line["event"] for line in lines}
    # The failures did happen, and were told.
    told = {"message received", "webhook refused: bad signature", "wrong admin token"}
    told |= {"live call ended", "recording kept", "stream refused: no token of ours"}
    assert told <= events, told - events
    assert {"21211", "63049", "20500", "401"} <= set(re.findall(r"\b\d{3,5}\b", log))
    tokens = [TOKENS.token_of(call, leg) for call in (1, 2) for leg in (1, 2, 3)]
    secrets = [account.api_key, account.webhook_secret, account.auth_token, account.tool_token, ADMIN_TOKEN]
    secrets += ["cvtkn_", *tokens, *run.secrets]
    assert_nothing_private(log, secrets)
    assert_nothing_private(unquote_plus(log), secrets)

    assert any("/Messages.json" in target for target in targets)
    assert any("/convai/" in target for target in targets)
    for url in run.asked:
        assert_nothing_private(unquote_plus(url), [account.api_key, account.auth_token, ADMIN_TOKEN])
    for target in targets:
        path, _, query = target.partition("?")
        asked_by_number = "/Messages.json" in path
        shown = re.sub(r"(?:To|From)=[^&]*", "", query) if asked_by_number else query
        assert_nothing_private(
            unquote_plus(f"{path}?{shown}"), [account.api_key, account.auth_token, ADMIN_TOKEN]
        )
