"""Ten thousand idle conversations whose people all write at the same moment."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import trio
from attrs import define, field

from daemon.lab.serving import LabAccount
from daemon.lab.twilio.signing import SIGNATURE_HEADER, signature
from daemon.lab.twilio.whatsapp.people import new_person
from tests.bench.wire import HungUpError, Wire, connect, post, read_status
from tests.chaos.books import INCOMING_PATH
from tests.chaos.ledger import count_owed
from tests.chaos.stage import Scenario, Stage
from tests.chaos.world import Settings, World

CONNECTIONS = 100
WRITING_AT_ONCE = 32
LOOK_EVERY_S = 1.0
ANSWERED_WITHIN_S = 1500.0

# As they ship where the lab, which shares two cores with all else, could not keep up with what is shorter.
SETTINGS: Settings = {
    "http": {"request_timeout_s": 10},
    "store": {"statement_timeout_s": 10, "acquire_timeout_s": 5},
    "elevenlabs": {"start_timeout_s": 30, "request_timeout_s": 15, "connects_per_second": 100},
    "twilio": {"request_timeout_s": 15},
    "whatsapp": {"missed_check_every_s": 60, "missed_after_s": 60},
    "conversation": {
        "coalesce_s": 1,
        "reply_timeout_s": 60,
        "retry_max_s": 60,
        "recover_every_s": 15,
        "max_open_sockets": 500,
    },
    "monitor": {"poll_every_s": 30},
    "outbox": {"certain_after_s": 20, "settle_unknown_after_s": 5},
}

_PEOPLE = """
WITH made AS (
    INSERT INTO person (phone_number, name)
    SELECT phone, 'Persona' FROM unnest(%(phones)s::text[]) AS phone
    RETURNING id, phone_number
), named AS (
    INSERT INTO person_identity (identity, person_id)
    SELECT phone, id FROM made JOIN unnest(%(phones)s::text[]) AS phone ON phone = phone_number
    UNION ALL
    SELECT user_id, id
    FROM made JOIN unnest(%(phones)s::text[], %(user_ids)s::text[]) AS u (phone, user_id) ON phone = phone_number
)
INSERT INTO conversation (person_id, agent_id, started_at)
SELECT id, 'agent_lab_whatsapp', now() - interval '1 day' FROM made
"""


async def idle_crowd(stage: Stage) -> None:
    """Each person's message is in Twilio's books before the first webhook goes out, so that all come at once."""
    world, people = stage.world, stage.options.people
    await world.kill_daemon()
    phones = stage.crowd.newcomers(people)
    async with world.server.connection() as connection:
        user_ids = [new_person(phone).external_user_id for phone in phones]
        await connection.execute(_PEOPLE, {"phones": phones, "user_ids": user_ids})
        await connection.execute("ANALYZE")
    messages = await _write(world, phones)
    await world.run_daemon()
    began_at = trio.current_time()
    flood = Flood(world.account, world.public_port, messages)
    await flood.run()
    stage.notes.append(
        f"{people} webhooks in {trio.current_time() - began_at:.0f} s, {flood.refused} not taken"
    )
    with trio.move_on_after(ANSWERED_WITHIN_S):
        # The store has no way to tell.
        while await _owed(world) or await _unstored(world, people):  # noqa: ASYNC110
            await trio.sleep(LOOK_EVERY_S)
    stage.notes.append(f"all answered after {trio.current_time() - began_at:.0f} s")
    stage.notes.append(f"peak RSS {_peak_mib(world.pid):.0f} MiB")


async def _write(world: World, phones: Sequence[str]) -> list[Mapping[str, str]]:
    """Everybody writes to Twilio, whose webhooks go nowhere; the forms that these webhooks would have."""
    await world.http.put(f"{world.twilio_lab}/incoming", json={"url": None})
    forms: dict[str, Mapping[str, str]] = {}
    limit = trio.CapacityLimiter(WRITING_AT_ONCE)

    async def write(phone: str, number: int) -> None:
        body = f"Tengo una duda #t{number}"
        async with limit:
            sent = await world.post(f"{world.twilio_lab}/customers/{phone}/messages", {"body": body})
        forms[phone] = _form(world.account, phone, sent["sid"], body)

    async with trio.open_nursery() as nursery:
        for number, phone in enumerate(phones):
            nursery.start_soon(write, phone, number)
    await world.http.put(f"{world.twilio_lab}/incoming", json={"url": f"{world.public_url}{INCOMING_PATH}"})
    return [forms[phone] for phone in phones]


def _form(account: LabAccount, phone: str, sid: str, body: str) -> Mapping[str, str]:
    digits = phone.removeprefix("+")
    metadata = {"type": "whatsapp", "data": {"context": {"ProfileName": "Persona", "WaId": digits}}}
    return {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "ProfileName": "Persona",
        "MessageType": "text",
        "SmsSid": sid,
        "WaId": digits,
        "SmsStatus": "received",
        "Body": body,
        "To": f"whatsapp:{account.whatsapp_from}",
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": account.account_sid,
        "ChannelMetadata": json.dumps(metadata),
        "From": f"whatsapp:{phone}",
        "ExternalUserId": f"whatsapp:{new_person(phone).external_user_id}",
        "ApiVersion": "2010-04-01",
    }


@define(eq=False)
class Flood:
    """Posts signed webhooks as fast as they are answered; `refused` were answered otherwise than 200, or not."""

    account: LabAccount
    port: int
    forms: Sequence[Mapping[str, str]]
    refused: int = 0
    _next: int = field(default=0, init=False)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(self._post_on)

    async def _post_on(self) -> None:
        wire: Wire | None = None
        while self._next < len(self.forms):
            form = self.forms[self._next]
            self._next += 1
            try:
                wire = wire or await connect(("127.0.0.1", self.port))
                await wire.send(self._request(form))
                self.refused += await read_status(wire) != 200
            except (HungUpError, OSError):
                self.refused += 1
                wire = None
        if wire is not None:
            await wire.stream.aclose()

    def _request(self, form: Mapping[str, str]) -> bytes:
        host = f"127.0.0.1:{self.port}"
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            SIGNATURE_HEADER: signature(
                self.account.auth_token, f"http://{host}{INCOMING_PATH}", form.items()
            ),
        }
        return post(host, INCOMING_PATH, headers, urlencode(form).encode("ascii"))


async def _owed(world: World) -> int:
    async with world.server.connection() as connection:
        return await count_owed(connection)


async def _unstored(world: World, people: int) -> int:
    """Messages that neither webhook nor list has brought yet."""
    async with world.server.connection() as connection:
        row = await connection.fetch_one("SELECT count(*) FROM message WHERE direction = 'inbound'")
    return people - int(row[0] if row is not None else 0)


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak_kib = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak_kib) / 1024


IDLE_CROWD = Scenario(name="idle-crowd", play=idle_crowd)
