"""A campaign that fails, on real processes: held back with an alert, over a restart, until the operator lets it go."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio

from tests.integration.relay import ADMIN_TOKEN, Relay, open_relay

LIMIT_S = 90
PHONES = [f"+5730012350{number:02}" for number in range(40)]
# The settings of the relay end in the table [whatsapp].
SLOWLY = "messages_per_second = 8\n"

Status: TypeAlias = Mapping[str, Any]

pytestmark = pytest.mark.processes


async def until(relay: Relay, condition: Callable[[Status], bool]) -> Status:
    """The status tells of what nobody signals."""
    while True:
        status: Status = await relay.status()
        if condition(status):
            return status
        await trio.sleep(0.1)


def campaign_alert(status: Status, batch_id: str) -> str:
    alerts = {alert["key"]: alert["text"] for alert in status["alerts"]}
    return str(alerts.get(f"campaign_{batch_id}", ""))


async def process(relay: Relay, batch_id: str) -> Any:
    """What `relevo batch process` asks the daemon for."""
    url = f"http://127.0.0.1:{relay.admin_port}/admin/batches/{batch_id}/process"
    response = await relay.http.post(url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    response.raise_for_status()
    return response.json()


async def test_a_failing_campaign_is_held_until_the_operator_lets_it_go(
    database: str, tmp_path: Path
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path, settings=SLOWLY) as relay:
            fault = f"{relay.twilio_lab}/faults/message_failed"
            (await relay.http.put(fault, json={"times": None, "details": {"code": 63024}})).raise_for_status()
            batch_id = await relay.submit_batch(PHONES)

            status = await until(relay, lambda status: bool(campaign_alert(status, batch_id)))
            assert "63024: the number has no WhatsApp" in campaign_alert(status, batch_id)
            relay.kill_daemon()
            await relay.start_daemon()
            status = await until(relay, lambda status: bool(campaign_alert(status, batch_id)))
            assert status["queues"]["outbound_pending"] > 0

            (await relay.http.delete(fault)).raise_for_status()
            await process(relay, batch_id)
            status = await until(relay, lambda status: status["queues"]["outbound_pending"] == 0)
            assert campaign_alert(status, batch_id) == ""
            progress = await until_settled(relay, batch_id)

    follow_ups = {recipient["follow_up"] for recipient in progress["recipients"]}
    assert follow_ups == {"handled", "refused"}
    notes = {r["follow_up_note"] for r in progress["recipients"] if r["follow_up"] == "refused"}
    assert {note.partition(":")[0] for note in notes} == {"63024"}


async def until_settled(relay: Relay, batch_id: str) -> Any:
    """The batch, once none of its openings is queued or due."""
    while True:
        progress = await process(relay, batch_id)
        if {recipient["follow_up"] for recipient in progress["recipients"]} <= {"handled", "refused"}:
            return progress
        await trio.sleep(0.1)
