"""What Twilio makes of the answer to an incoming-message webhook (Twilio docs: api/twiml/sms/your_response)."""

from typing import Final
from xml.etree import ElementTree as ET

from attrs import frozen

from daemon.lab.twilio.deliveries import Answer

TWIML_TYPES: Final = frozenset({"text/xml", "application/xml", "text/html"})


@frozen
class Reply:
    """A message to the person that the answer asks for."""

    body: str
    media_urls: tuple[str, ...] = ()


@frozen
class Trouble:
    """The answer means nothing to Twilio; `code` goes to the debugger."""

    code: int
    sentence: str


def read_answer(answer: Answer) -> list[Reply] | Trouble:
    """Interpret a 2xx answer.

    TwiML replies with its `<Message>` verbs, plain text is itself the reply, and nothing is fine.
    """
    text = answer.body.decode("utf-8", errors="replace").strip()
    if not text:
        return []
    content_type = answer.content_type.partition(";")[0].strip().lower()
    if content_type == "text/plain":
        return [Reply(text)]
    if content_type not in TWIML_TYPES:
        return Trouble(12300, f"Invalid Content-Type: {content_type or 'none'}")
    return _read_twiml(text)


def _read_twiml(text: str) -> list[Reply] | Trouble:
    try:
        root = ET.fromstring(text)  # noqa: S314 - our own server's answer, limited in size
    except ET.ParseError as error:
        return Trouble(12100, f"Document parse failure: {error}")
    if root.tag != "Response":
        return Trouble(12100, f"Document parse failure: the root is <{root.tag}>")
    return [_reply(verb) for verb in root if verb.tag == "Message"]


def _reply(verb: ET.Element) -> Reply:
    bodies = [verb.text or "", *(part.text or "" for part in verb if part.tag == "Body")]
    media = tuple(part.text.strip() for part in verb if part.tag == "Media" and part.text)
    return Reply("".join(bodies).strip(), media)
