"""Twilio's WhatsApp webhooks: messages that come in, statuses of those that went out."""

from collections.abc import Callable, Mapping
from typing import Final

import structlog
from attrs import frozen

from actors.conversation.mail import ConversationMessage, MessageArrived
from actors.messages import InboundMessage, StatusReport
from actors.ports import InboxStore, WallClock
from actors.runtime.fault_points import FaultPoint, reached
from actors.watch.status_intake import StatusIntake
from daemon.web.door import TwilioDoor, read_or_refuse, stored
from daemon.web.express import Answer, ExpressRequest, View

_log = structlog.get_logger(__name__)

INCOMING_MESSAGE: Final = "/api/webhook/twilio/incoming"

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
        statuses: takes in what Twilio reports of our messages.
        store_timeout_s: for the one transaction of a request.
    """

    door: TwilioDoor
    inbox: InboxStore
    statuses: StatusIntake
    read_message: Callable[[Mapping[str, str]], InboundMessage]
    read_status: Callable[[Mapping[str, str], Mapping[str, str]], StatusReport]
    default_agent_id: str
    post: Callable[[int, ConversationMessage], bool]
    clock: WallClock
    store_timeout_s: float

    @property
    def views(self) -> Mapping[str, View]:
        """By path; for POST alone."""
        return {
            INCOMING_MESSAGE: self.incoming,
            "/api/webhook/twilio/status": self.status,
        }

    async def incoming(self, request: ExpressRequest) -> Answer:
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
        return Answer(status=200, body=EMPTY_TWIML, content_type="text/xml")

    async def status(self, request: ExpressRequest) -> Answer:
        """A status of a message of ours; one that says nothing new changes nothing."""
        form = await self.door.form(request)
        report = read_or_refuse(self.read_status, form, request.query)
        if report.status is not None:
            reached(FaultPoint.STATUS_NOT_STORED)
            await stored(self.statuses.take(report), timeout_s=self.store_timeout_s)
            reached(FaultPoint.STATUS_STORED)
        return Answer(status=204)
