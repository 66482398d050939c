"""ElevenLabs' post-call webhook."""

from collections.abc import Callable
from typing import TypeAlias

import structlog
from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from actors.calls import CallDetails, CallSighting, SeenCall
from actors.watch.call_intake import CallIntake
from daemon.web.door import read_body, read_or_refuse, require_content_type, require_open, stored
from daemon.web.problem import HttpError

_log = structlog.get_logger(__name__)

CallNews: TypeAlias = CallDetails | SeenCall | None
"""What a webhook told: a whole call, a call that failed before it began, or nothing for us."""


@frozen(kw_only=True)
class ElevenLabsWebhook:
    """What the route works with.

    Attributes:
        is_signed: whether ElevenLabs signed a body, by its header. None when no secret is set; then the route
            does not exist and polling does the work.
        read: raises `BadFieldError` for a body without what its type promises.
        details_due: tells the call monitor that a call wants its details.
    """

    is_signed: Callable[[bytes, str | None], bool] | None
    read: Callable[[bytes], CallNews]
    intake: CallIntake
    details_due: Callable[[], None]
    is_open: Callable[[], bool]
    max_body_bytes: int
    store_timeout_s: float

    def register(self, app: QuartTrio) -> None:
        if self.is_signed is not None:
            app.add_url_rule("/api/webhook/elevenlabs", view_func=self.post_call, methods=["POST"])

    async def post_call(self) -> Response:
        """A call ended. Answered 200 once it is stored, however often it is told."""
        require_open(self.is_open)
        require_content_type(request, "application/json")
        body = await read_body(request, max_bytes=self.max_body_bytes)
        header = request.headers.get("ElevenLabs-Signature")
        if self.is_signed is None or not self.is_signed(body, header):
            raise HttpError(
                status=401, code="bad_signature", message="the signature is missing, old or wrong"
            )
        news = read_or_refuse(self.read, body)
        if news is not None:
            await stored(self._store(news), timeout_s=self.store_timeout_s)
        return Response(b"", status=200)

    async def _store(self, news: CallDetails | SeenCall) -> None:
        if isinstance(news, SeenCall):
            await self.intake.see([news])
        else:
            seen = SeenCall(
                id=news.id,
                sighting=CallSighting.WEBHOOK,
                agent_id=news.agent_id,
                phone_number=news.phone_number,
                outcome=news.outcome,
                batch_id=news.batch_id,
                recipient_id=news.recipient_id,
                variables=news.variables,
            )
            await self.intake.see([seen])
            await self.intake.take_told(news)
        self.details_due()
