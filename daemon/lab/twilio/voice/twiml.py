"""TwiML documents, read and checked; running them is the interpreter's (Twilio docs: voice/twiml)."""

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Final
from xml.etree import ElementTree as ET

from attrs import Factory, frozen

from daemon.lab.twilio.deliveries import Answer

TWIML_TYPES: Final = frozenset({"text/xml", "application/xml", "text/html"})
AUDIO_TYPES: Final = frozenset({"audio/mpeg", "audio/wav", "audio/wave", "audio/x-wav", "audio/basic"})

# What may stand in what; a noun is a verb's child.
NOUNS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "Say": frozenset({"break", "prosody", "emphasis", "p", "s", "say-as", "sub", "phoneme", "lang", "w"}),
        "Play": frozenset(),
        "Pause": frozenset(),
        "Gather": frozenset({"Say", "Play", "Pause"}),
        "Record": frozenset(),
        "Redirect": frozenset(),
        "Hangup": frozenset(),
        "Reject": frozenset(),
        "Dial": frozenset({"Number", "Conference", "Application"}),
        "Connect": frozenset({"Stream"}),
        "Start": frozenset({"Stream"}),
        "Stop": frozenset({"Stream"}),
        "Stream": frozenset({"Parameter"}),
        "Application": frozenset({"ApplicationSid", "Parameter"}),
    }
)
VERBS: Final = frozenset(NOUNS) - {"Stream", "Application"}
# Twilio docs: voice/twiml/conference#waiturl.
MUSIC_VERBS: Final = frozenset({"Play", "Say", "Pause", "Redirect"})
# Twilio docs: voice/twiml, "answering": these come before the call is answered.
BEFORE_ANSWER: Final = frozenset({"Pause", "Reject", "Redirect", "Hangup"})


@frozen
class Verb:
    """One element. `text` is what stands in it, children included, without space around it."""

    name: str
    attributes: Mapping[str, str] = Factory(dict)
    text: str = ""
    children: Sequence["Verb"] = ()

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def number(self, name: str, default: float) -> float:
        """A numeric attribute; one that is no number counts as absent, as with Twilio."""
        try:
            value = float(self.attributes.get(name, default))
        except ValueError:
            return default
        return value if isfinite(value) else default

    def flag(self, name: str, *, default: bool) -> bool:
        return self.attributes.get(name, str(default)).lower() == "true"

    def first(self, name: str) -> "Verb | None":
        return next((child for child in self.children if child.name == name), None)


class BadDocumentError(Exception):
    """An answer of which Twilio can make nothing; `code` is the debugger's."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def read_document(answer: Answer, url: str) -> list[Verb]:
    """The verbs of an answer; `url` is where it came from, for an answer that is itself the sound.

    Raises:
        BadDocumentError: 12300, 12100 or 12200.
    """
    content_type = answer.content_type.partition(";")[0].strip().lower()
    if content_type in AUDIO_TYPES:
        return [Verb("Play", text=url)]
    text = answer.body.decode("utf-8", "replace").strip()
    if content_type == "text/plain":
        return [Verb("Say", text=text)]
    if content_type not in TWIML_TYPES:
        raise BadDocumentError(12300, f"Invalid Content-Type: {content_type or 'none'}")
    return parse(text)


def parse(text: str) -> list[Verb]:
    """The verbs of a `<Response>`.

    Raises:
        BadDocumentError: 12100, it is no XML or no response; 12200, a verb that is none, or not there.
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - our own server's answer, limited in size
    except ET.ParseError as error:
        raise BadDocumentError(12100, f"Document parse failure: {error}") from None
    if root.tag != "Response":
        raise BadDocumentError(12100, f"Document parse failure: the root is <{root.tag}>")
    for element in root:
        if element.tag not in VERBS:
            raise BadDocumentError(12200, f"Schema validation warning: <{element.tag}> is no verb")
    return [_verb(element) for element in root]


def _verb(element: ET.Element) -> Verb:
    allowed = NOUNS.get(element.tag, frozenset())
    for child in element:
        if child.tag not in allowed:
            raise BadDocumentError(12200, f"Schema validation warning: <{child.tag}> in <{element.tag}>")
    return Verb(
        element.tag,
        dict(element.attrib),
        # Of the elements within a Say the words count; elsewhere only what stands beside them.
        "".join(element.itertext()).strip() if element.tag == "Say" else _own_text(element),
        [_verb(child) for child in element],
    )


def _own_text(element: ET.Element) -> str:
    return "".join([element.text or "", *(child.tail or "" for child in element)]).strip()
