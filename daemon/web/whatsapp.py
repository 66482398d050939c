"""Twilio's WhatsApp webhooks: messages that come in, statuses of those that went out."""

from collections.abc import Callable, Mapping

import structlog
from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from actors.conversation.mail import ConversationMessage, MessageArrived
from actors.messages import InboundMessage, StatusReport
from actors.ports import InboxStore, OutboxStore, WallClock
from actors.runtime.fault_points import FaultPoint, reached
from daemon.web.door import TwilioDoor, read_or_refuse, stored

_log = structlog.get_logger(__name__)

# A body of any other type, or none at all, Twilio would send to the person or report as an error (Twilio docs:
# api/twiml/sms/your_response).
EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


@frozen(kw_only=True)
class WhatsAppWebhooks:
    """What the two routes work with.

    Attributes:
        read_message, read_status: from a form, and for a status the query's values; raise `BadFieldError`.
        default_agent_id: who answers a person whom nobody has called.
        post: a message for a person's conversation; false when it could not be taken, which loses nothing.
        outbox_due: tells the outbox that a person has something to send.
        store_timeout_s: for the one transaction of a request.
    """

    door: TwilioDoor
    inbox: InboxStore
    outbox: OutboxStore
    read_message: Callable[[Mapping[str, str]], InboundMessage]
    read_status: Callable[[Mapping[str, str], Mapping[str, str]], StatusReport]
    default_agent_id: str
    post: Callable[[int, ConversationMessage], bool]
    outbox_due: Callable[[int], None]
    clock: WallClock
    store_timeout_s: float

    def register(self, app: QuartTrio) -> None:
        app.add_url_rule("/api/webhook/twilio/incoming", view_func=self.incoming, methods=["POST"])
        app.add_url_rule("/api/webhook/twilio/status", view_func=self.status, methods=["POST"])

    async def incoming(self) -> Response:
        """A person wrote. Answered once it is stored; a repeated message is answered the same."""
        form = await self.door.form(request)
        message = read_or_refuse(self.read_message, form)
        reached(FaultPoint.INBOUND_NOT_STORED)
        received = await stored(
            self.inbox.receive(message, default_agent_id=self.default_agent_id, now=self.clock.now()),
            timeout_s=self.store_timeout_s,
        )
        reached(FaultPoint.INBOUND_STORED)
        if received.is_new:
            _log.info(
                "message received",
                conversation_id=received.conversation_id,
                person_id=received.person_id,
                twilio_sid=message.sid,
                kind=message.kind,
            )
            self.post(received.person_id, MessageArrived(message.sid))
        return Response(EMPTY_TWIML, content_type="text/xml")

    async def status(self) -> Response:
        """A status of a message of ours; one that says nothing new changes nothing."""
        form = await self.door.form(request)
        report = read_or_refuse(self.read_status, form, request.args)
        if report.status is not None:
            reached(FaultPoint.STATUS_NOT_STORED)
            person_id = await stored(
                self.outbox.report(report, now=self.clock.now()), timeout_s=self.store_timeout_s
            )
            reached(FaultPoint.STATUS_STORED)
            if person_id is not None:
                self.outbox_due(person_id)
        return Response(b"", status=204)
