"""REST: batch calling, and single outbound calls. Source: ElevenLabs OpenAPI, `/v1/convai/batch-calling`."""

import csv
import io
from typing import Any, Final

from attrs import define
from quart import Response, request
from quart_trio import QuartTrio

from daemon.lab.elevenlabs.batches import Batches
from daemon.lab.elevenlabs.calls import CallOrder
from daemon.lab.elevenlabs.errors import business_error, invalid, require
from daemon.lab.elevenlabs.loose import as_mapping
from daemon.lab.elevenlabs.rest import empty_reply, int_arg, page_of, read_json, reply

_RECIPIENTS_MAX: Final = 10_000


def check_submission(body: dict[str, Any]) -> None:
    """Refuse a batch that ElevenLabs would refuse.

    Raises:
        RefusalError: 422 for missing fields; 400 for recipients without a number, or no number to call from.
    """
    require(body, call_name=str, agent_id=str, recipients=list)
    recipients = body["recipients"]
    where: tuple[str | int, ...] = ("body", "recipients")
    if not recipients:
        raise invalid((where, "List should have at least 1 item", "too_short"))
    if len(recipients) > _RECIPIENTS_MAX:
        raise invalid((where, f"List should have at most {_RECIPIENTS_MAX} items", "too_long"))
    problems = [
        ((*where, index), "Input should be a valid dictionary", "dict_type")
        for index, entry in enumerate(recipients)
        if not isinstance(entry, dict)
    ]
    if problems:
        raise invalid(*problems)
    if not all(entry.get("phone_number") or entry.get("whatsapp_user_id") for entry in recipients):
        raise business_error(
            400,
            "invalid_recipient",
            "Each recipient needs a phone_number or a whatsapp_user_id.",
            kind="validation_error",
        )
    if not (body.get("agent_phone_number_id") or body.get("whatsapp_params")):
        raise business_error(
            400,
            "missing_phone_number",
            "Either agent_phone_number_id or whatsapp_params is required.",
            kind="validation_error",
        )


@define(eq=False)
class BatchRoutes:
    batches: Batches

    def add_to(self, app: QuartTrio) -> None:
        root = "/v1/convai/batch-calling"
        one = f"{root}/<batch_id>"
        app.add_url_rule(f"{root}/submit", view_func=self.submit_batch, methods=["POST"])
        app.add_url_rule(f"{root}/workspace", view_func=self.list_batches, methods=["GET"])
        app.add_url_rule(one, view_func=self.get_batch, methods=["GET"])
        app.add_url_rule(one, view_func=self.delete_batch, methods=["DELETE"])
        app.add_url_rule(f"{one}/cancel", view_func=self.cancel_batch, methods=["POST"])
        app.add_url_rule(f"{one}/retry", view_func=self.retry_batch, methods=["POST"])
        app.add_url_rule(f"{one}/export", view_func=self.export_batch, methods=["GET"])
        app.add_url_rule("/v1/convai/twilio/outbound-call", view_func=self.call_out, methods=["POST"])

    async def submit_batch(self) -> Response:
        body = await read_json()
        check_submission(body)
        for entry in body["recipients"]:
            entry.pop("script", None)  # only the lab's own route knows scripts
        return reply(self.batches.submit(body).as_json())

    async def list_batches(self) -> Response:
        agent_id = request.args.get("agent_id")
        batches = [
            batch for batch in reversed(self.batches.all.values()) if agent_id in {None, batch.agent_id}
        ]
        page, cursor = page_of(
            batches,
            after=request.args.get("last_doc"),
            size=int_arg("limit", 100, least=1),
            id_of=lambda batch: batch.id,
        )
        listed = [batch.as_json() for batch in page]
        return reply({"batch_calls": listed, "next_doc": cursor, "has_more": cursor is not None})

    async def get_batch(self, batch_id: str) -> Response:
        return reply(self.batches.batch(batch_id).as_detail())

    async def delete_batch(self, batch_id: str) -> Response:
        self.batches.cancel(self.batches.batch(batch_id))
        del self.batches.all[batch_id]
        return empty_reply(204)

    async def cancel_batch(self, batch_id: str) -> Response:
        batch = self.batches.batch(batch_id)
        self.batches.cancel(batch)
        return reply(batch.as_json())

    async def retry_batch(self, batch_id: str) -> Response:
        batch = self.batches.batch(batch_id)
        self.batches.retry(batch)
        return reply(batch.as_json())

    async def export_batch(self, batch_id: str) -> Response:
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(("id", "phone_number", "status", "conversation_id"))
        for recipient in self.batches.batch(batch_id).recipients:
            writer.writerow(
                (recipient.id, recipient.phone_number, recipient.status, recipient.conversation_id or "")
            )
        return Response(table.getvalue(), content_type="text/csv; charset=utf-8")

    async def call_out(self) -> Response:
        body = await read_json()
        require(body, agent_id=str, agent_phone_number_id=str, to_number=str)
        client_data = as_mapping(body.get("conversation_initiation_client_data"))
        order = CallOrder(
            agent_id=body["agent_id"],
            number=body["to_number"],
            phone_number_id=body["agent_phone_number_id"],
            client_data={key: value for key, value in client_data.items() if key != "type"},
        )
        script = self.batches.write_script(as_mapping(client_data.get("dynamic_variables")))
        conversation = self.batches.calls.dial(order, script)
        call_sid = conversation.phone.call_sid if conversation.phone is not None else None
        return reply(
            {
                "success": True,
                "message": "Call initiated",
                "conversation_id": conversation.id,
                "callSid": call_sid,
            }
        )
