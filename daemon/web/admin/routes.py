"""The admin listener's routes: health, metrics, status, and what the operator's commands call."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import trio
from attrs import frozen
from quart import Response, jsonify, request
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio

from actors.calls import Batch
from actors.conversation.mail import Close, ConversationMessage
from actors.overview import Overview
from actors.ports import StoreUnavailableError, VendorRefusedError, VendorUnavailableError
from actors.runtime.mailbox import ActorGoneError
from daemon.web.admin.guard import AdminGuard, peer_of
from daemon.web.admin.shapes import batch_json, page_json, status_json, summary_json, timeline_json
from daemon.web.problem import HttpError

PAGE_SIZE = 50
_LIKE_A_NUMBER: Final = re.compile(r"\s*\+[ ().\-/]*(?:[0-9][ ().\-/]*){7,15}\s*")
CLOSE_TIMEOUT_S = 10.0


class Metrics(Protocol):
    content_type: str

    def render(self) -> bytes: ...


@frozen(kw_only=True)
class AdminRoutes:
    """What the routes work with.

    Attributes:
        is_ready: whether messages are taken in and the database answers.
        status: the status as JSON values.
        measure: brings gauges up to date that nobody keeps up to date otherwise.
        identities_of: canonical names of the person behind a phone number; empty for what is no number.
        post: a message for a person's conversation; false when it could not be taken.
        release: start a person's parked conversation again; false when it was not parked.
        process_batch: follow every finished recipient of a batch up now; None for an unknown batch.
    """

    guard: AdminGuard
    is_ready: Callable[[], Awaitable[bool]]
    status: Callable[[], Awaitable[Mapping[str, object]]]
    metrics: Metrics
    measure: Callable[[], Awaitable[None]]
    overview: Overview
    identities_of: Callable[[str], Sequence[str]]
    post: Callable[[int, ConversationMessage], bool]
    release: Callable[[int], bool]
    process_batch: Callable[[str], Awaitable[Batch | None]]

    def register(self, app: QuartTrio) -> None:
        app.add_url_rule("/livez", view_func=self.livez, methods=["GET"])
        app.add_url_rule("/readyz", view_func=self.readyz, methods=["GET"])
        app.add_url_rule("/metrics", view_func=self.render_metrics, methods=["GET"])
        guarded: list[tuple[str, str, Callable[..., Awaitable[ResponseReturnValue]]]] = [
            ("GET", "/admin/status", self.show_status),
            ("GET", "/admin/conversations", self.list_conversations),
            ("POST", "/admin/conversations/find", self.find_conversation),
            ("GET", "/admin/conversations/<int:conversation_id>", self.show_conversation),
            ("POST", "/admin/conversations/<int:conversation_id>/close", self.close_conversation),
            ("POST", "/admin/conversations/parked/<int:person_id>/release", self.release_conversation),
            ("GET", "/admin/batches/newest", self.show_newest_batch),
            ("GET", "/admin/batches/<batch_id>", self.show_batch),
            ("POST", "/admin/batches/<batch_id>/process", self.run_batch),
        ]
        for method, rule, view in guarded:
            app.add_url_rule(rule, view_func=self.guard.guarded(view), methods=[method])
        app.register_error_handler(StoreUnavailableError, _store_unavailable)

    async def livez(self) -> Response:
        return Response("ok\n", content_type="text/plain")

    async def readyz(self) -> Response:
        ready = await self.is_ready()
        return Response(
            "ready\n" if ready else "not ready\n", status=200 if ready else 503, content_type="text/plain"
        )

    async def render_metrics(self) -> Response:
        """Prometheus text. Numbers only, so it needs no token on loopback, where it is bound by default."""
        if not peer_of(request).is_local:
            await self.guard.check(request)
        await self.measure()
        return Response(self.metrics.render(), content_type=self.metrics.content_type)

    async def show_status(self) -> ResponseReturnValue:
        return jsonify(status_json(await self.status()))

    async def list_conversations(self) -> ResponseReturnValue:
        """Newest first, `PAGE_SIZE` a page; `cursor` is the `next_cursor` of the page before."""
        page = await self.overview.conversations(_cursor(), limit=PAGE_SIZE)
        return jsonify(page_json(page))

    async def find_conversation(self) -> ResponseReturnValue:
        """`{"phone": "+57…"}` in the body, so that no number stands in a URL."""
        body = await request.get_json(force=True, silent=True)
        phone = body.get("phone") if isinstance(body, dict) else None
        if not isinstance(phone, str) or not (identities := self.identities_of(phone)):
            raise HttpError(
                status=400,
                code="bad_field",
                message=_number_flaw(phone),
                field="phone",
            )
        summary = await self.overview.find_by_number(identities)
        if summary is None:
            raise HttpError(status=404, code="not_found", message="this number has no conversation")
        return jsonify(summary_json(summary))

    async def show_conversation(self, conversation_id: int) -> ResponseReturnValue:
        timeline = await self.overview.conversation(conversation_id)
        if timeline is None:
            raise HttpError(status=404, code="not_found", message="there is no such conversation")
        return jsonify(timeline_json(timeline))

    async def close_conversation(self, conversation_id: int) -> ResponseReturnValue:
        """Close the person's open conversation; `{"closed": false}` when it was closed already."""
        timeline = await self.overview.conversation(conversation_id)
        if timeline is None:
            raise HttpError(status=404, code="not_found", message="there is no such conversation")
        if timeline.summary.status == "closed":
            return jsonify({"closed": False})
        close = Close()
        if not self.post(timeline.summary.person_id, close):
            raise HttpError(
                status=503, code="not_taken", message="the conversation does not take messages now"
            )
        try:
            return jsonify({"closed": await close.done.wait(timeout_s=CLOSE_TIMEOUT_S)})
        except (trio.TooSlowError, ActorGoneError):
            raise HttpError(status=503, code="too_slow", message="not closed yet; look again") from None

    async def release_conversation(self, person_id: int) -> ResponseReturnValue:
        """Let a parked conversation start again now; `{"released": false}` when it was not parked."""
        return jsonify({"released": self.release(person_id)})

    async def show_newest_batch(self) -> ResponseReturnValue:
        batch = await self.overview.newest_batch()
        if batch is None:
            raise HttpError(
                status=404,
                code="not_found",
                message="no batch has been seen yet; they are looked for every monitor.poll_every_s",
            )
        return jsonify(batch_json(batch))

    async def show_batch(self, batch_id: str) -> ResponseReturnValue:
        batch = await self.overview.batch(batch_id)
        if batch is None:
            raise HttpError(
                status=404,
                code="not_found",
                message="this batch has not been seen yet; they are looked for every monitor.poll_every_s",
            )
        return jsonify(batch_json(batch))

    async def run_batch(self, batch_id: str) -> ResponseReturnValue:
        """Record every finished recipient now; safe to repeat. Answers with the batch as it then stands."""
        try:
            found = await self.process_batch(batch_id)
        except (VendorUnavailableError, VendorRefusedError) as error:
            raise HttpError(status=502, code="elevenlabs", message=str(error)) from error
        if found is None:
            raise HttpError(status=404, code="not_found", message="ElevenLabs knows no such batch")
        return await self.show_batch(batch_id)


def _number_flaw(phone: object) -> str:
    """Why this has no conversations, for one that names nobody. The number is not shown."""
    if isinstance(phone, str) and _LIKE_A_NUMBER.fullmatch(phone):
        return "no telephone has this number: the numbering plan of its country has none like it"
    return "expected a phone number such as +573001234567"


def _cursor() -> int | None:
    text = request.args.get("cursor")
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 18:
        raise HttpError(status=400, code="bad_field", message="expected a next_cursor", field="cursor")
    return int(text)


async def _store_unavailable(_error: StoreUnavailableError) -> ResponseReturnValue:
    problem = HttpError(status=503, code="store_unavailable", message="the database is out of reach")
    return jsonify(problem.body), problem.status
