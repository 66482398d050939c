"""Fetching what a call is to do: TwiML and sound, through the signed webhook engine."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urldefrag, urljoin

from attrs import define, frozen

from daemon.lab.twilio.deliveries import Answer, Delivery
from daemon.lab.twilio.voice.ground import Ground, is_url
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.twiml import BadDocumentError, Verb, read_document

ANSWER_MAX_BYTES: Final = 16 * 1024 * 1024
# Twilio's error for a request that failed; the engine has told the debugger which it was.
HTTP_FAILED: Final = 11200
INVALID_URL: Final = 11100


@frozen(kw_only=True)
class Document:
    """The verbs of a document and where it came from, against which its URLs are read."""

    verbs: Sequence[Verb]
    url: str
    method: str = "POST"

    def link(self, text: str) -> str:
        """A URL that stands in the document, whole; one that cannot be read comes as it is and fails later."""
        try:
            return urljoin(self.url, text)
        except ValueError:
            return text


@define(eq=False)
class Documents:
    ground: Ground

    async def read(self, leg: Leg, wanted: Fetch) -> Document | None:
        """The document at a URL, else the one that the leg falls back to, else None.

        The fallback is asked with `ErrorCode` and `ErrorUrl`, when the first could not be had and when it makes no sense.
        """
        found = await self.read_once(leg, wanted)
        if isinstance(found, Document):
            return found
        fallback = leg.fallback
        if fallback is None or fallback.url == wanted.url:
            return None
        extra = {**wanted.extra, "ErrorCode": str(found), "ErrorUrl": wanted.url.partition("#")[0]}
        found = await self.read_once(leg, Fetch(url=fallback.url, method=fallback.method, extra=extra))
        return found if isinstance(found, Document) else None

    async def read_once(self, leg: Leg, wanted: Fetch) -> Document | int:
        """The document at a URL, or Twilio's error code."""
        self.ground.moments.tell("document", leg.sid, leg.number, wanted.url)
        fields = {**leg.call.fields(self.ground.account.sid), **wanted.extra}
        if not is_url(wanted.url):
            self.ground.complain(INVALID_URL, wanted.url, "not a URL", call_sid=leg.sid)
            return INVALID_URL
        answer = await self._request(wanted.url, wanted.method, fields)
        if answer is None:
            return HTTP_FAILED
        try:
            verbs = read_document(answer, wanted.url)
        except BadDocumentError as error:
            self.ground.complain(error.code, wanted.url, str(error), call_sid=leg.sid)
            return error.code
        return Document(verbs=verbs, url=urldefrag(wanted.url).url, method=wanted.method)

    async def sound(self, url: str) -> Answer | None:
        """What a `<Play>` names; None when it cannot be had."""
        if not is_url(url):
            return None
        return await self._request(url, "GET", {})

    def post(self, url: str, method: str, fields: Mapping[str, str]) -> None:
        """A request whose answer means nothing any more, as the one after a call has ended."""
        self.ground.engine.submit(Delivery(kind="voice", url=url, method=method, params=list(fields.items())))

    async def _request(self, url: str, method: str, fields: Mapping[str, str]) -> Answer | None:
        answers: list[Answer] = []
        delivery = Delivery(
            kind="voice",
            url=url,
            method=method,
            params=list(fields.items()),
            on_answer=answers.append,
            answer_max_bytes=ANSWER_MAX_BYTES,
        )
        if (late_s := self.ground.strikes_s("document_late", 5.0, text=url)) is not None:
            await self.ground.sleep(late_s)
        if self.ground.strikes("document_lost", text=url):
            delivery.note = "lost"
            delivery.done.set()
            self.ground.books.webhooks.append(delivery)
            self.ground.books.changed()
            return None
        if self.ground.strikes("document_duplicate", text=url):
            self.ground.engine.submit(delivery)
            await delivery.done.wait()
            delivery = delivery.again()
        self.ground.engine.submit(delivery)
        await delivery.done.wait()
        return answers[-1] if answers else None
