"""What the simulated agent says: steps, what it knows of its conversation, and a Spanish sales agent."""

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from attrs import Factory, define, frozen

REQUEST_ADVISOR: Final = "request_advisor"
TAKE_MESSAGE: Final = "take_message"


def is_note(text: str) -> bool:
    """In brackets: what the business writes to the agent, and nobody has said."""
    return text.lstrip().startswith(("[", "("))


@frozen
class Say:
    text: str


@frozen
class CallTool:
    """Call a client tool. `expects_response` None: as the agent's tool is configured, else true."""

    name: str
    parameters: Mapping[str, Any] = Factory(dict)
    expects_response: bool | None = None


@frozen
class Pause:
    seconds: float


@frozen
class EndCall:
    reason: str = "The conversation is over"


Step: TypeAlias = Say | CallTool | Pause | EndCall


@frozen(kw_only=True)
class ToolResult:
    """How a tool call ended. `is_error` is also true when no result came in time."""

    name: str
    result: str
    is_error: bool


@define(kw_only=True)
class CallContext:
    """What the agent knows in a conversation.

    Attributes:
        variables: dynamic variables, placeholders included.
        prompt: the system prompt with its variables filled in.
        tools: names of the agent's tools, built-in ones included.
        updates: contextual updates, oldest first; a superseded one is gone.
        news: contextual updates that came since the agent last answered somebody.
        is_typed: what is being answered was written, not said.
        said: the latest (role, text) pairs, oldest first; role is `user` or `agent`.
        tool_results: results of the client tools called so far.
    """

    agent_name: str
    text_only: bool
    variables: Mapping[str, Any] = Factory(dict)
    prompt: str = ""
    tools: frozenset[str] = frozenset()
    updates: list[tuple[str | None, str]] = Factory(list)
    news: list[str] = Factory(list)
    is_typed: bool = False
    said: deque[tuple[str, str]] = Factory(lambda: deque(maxlen=200))
    tool_results: list[ToolResult] = Factory(list)

    def update(self, text: str, context_id: str | None) -> None:
        if context_id is not None:
            self.updates = [update for update in self.updates if update[0] != context_id]
        self.updates.append((context_id, text))
        self.news.append(text)


class Brain(Protocol):
    """Decides what the agent does. One brain may serve many conversations at once."""

    def reply(self, context: CallContext, text: str) -> Iterable[Step]:
        """The steps that answer the user's `text`.

        A generator is drawn step by step: after a `CallTool` it finds the result last in
        `context.tool_results`.
        """
        ...


def plain_text(text: str) -> str:
    """Lower case without accents."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


@frozen
class Knowledge:
    """What can be looked up in a context: named values, and sentences."""

    values: Mapping[str, str]
    sentences: Sequence[str]

    def named(self, *words: str) -> str | None:
        """The first value whose name holds one of the words, tried in their order."""
        for word in words:
            for name, value in self.values.items():
                if word in name and value.strip():
                    return value.strip()
        return None

    def sentence(self, pattern: re.Pattern[str]) -> str | None:
        return next((sentence for sentence in self.sentences if pattern.search(plain_text(sentence))), None)


def knowledge_of(context: CallContext) -> Knowledge:
    """Dynamic variables first, then what contextual updates said, the newest first.

    Lines of a recorded talk (`Cliente: …`) are left out: what somebody once asked is no knowledge.
    """
    values = {
        name.lower(): _without_talk(str(value))
        for name, value in context.variables.items()
        if value is not None
    }
    sentences = [piece for text in values.values() for piece in _sentences(text)]
    for _, update in reversed(context.updates):
        text = _without_talk(update)
        sentences.extend(_sentences(text))
        for line in text.splitlines():
            name, colon, value = line.partition(":")
            if colon and len(name) <= _NAME_LENGTH_MAX:
                values.setdefault(plain_text(name.strip(" -•*")).replace(" ", "_"), value)
    return Knowledge(values, sentences)


_NAME_LENGTH_MAX: Final = 40
_TALK: Final = re.compile(r"\s*(cliente|tú|agente|usuario|asesor|user|agent)\s*:", re.IGNORECASE)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n+")


def _without_talk(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not _TALK.match(line))


def _sentences(text: str) -> list[str]:
    return [piece.strip(" -•*") for piece in _SENTENCE_END.split(text) if len(piece.split()) > 1]


_MONEY: Final = re.compile(r"\$|\busd\b|\bcop\b|\bpesos\b|\bprecio\b|\bcuesta\b|\bvalor\b")
_DATE: Final = re.compile(
    r"\b(lunes|martes|miercoles|jueves|viernes|sabado|domingo|manana|semana|dias|entrega|fecha)\b"
)
_TOKEN: Final = re.compile(r"#\w+")
_ECHO_WORDS: Final = 8


def with_tokens(steps: Iterable[Step], question: str) -> Iterator[Step]:
    """The steps, with the `#tokens` of the question at the end of every sentence, and no others in it."""
    tokens = _TOKEN.findall(question)
    mark = f" ({' '.join(tokens)})" if tokens else ""
    for step in steps:
        yield Say(_TOKEN.sub("", step.text) + mark) if isinstance(step, Say) else step


@define
class SalesBrain:
    """A Spanish sales agent that knows its call from variables and contextual updates.

    Every answer repeats the `#tokens` of its question and no others, so that a test can tell which question
    it answers.
    """

    def reply(self, context: CallContext, text: str) -> Iterator[Step]:
        knows = knowledge_of(context)
        plain = plain_text(text)
        answer = next(answer for pattern, answer in _INTENTS if pattern.search(plain))
        yield from with_tokens(answer(context, knows, text), text)


def _greeted(knows: Knowledge) -> str:
    name = knows.named("customer_name", "client_name", "nombre", "name", "cliente")
    return f", {name.split()[0]}" if name else ""


def _product(knows: Knowledge) -> str:
    return knows.named("product", "campaign", "campana", "interes", "topic", "tema") or "lo que conversamos"


def _price(_: CallContext, knows: Knowledge, __: str) -> Iterator[Step]:
    known = knows.sentence(_MONEY)
    if known:
        yield Say(f"Claro{_greeted(knows)}. Como lo vimos en la llamada: {known}")
    else:
        yield Say(f"El precio de {_product(knows)} lo confirmo con el equipo y se lo escribo hoy mismo.")


def _date(_: CallContext, knows: Knowledge, __: str) -> Iterator[Step]:
    known = knows.sentence(_DATE)
    yield Say(
        f"Quedamos así: {known}" if known else "La fecha la confirmo con el equipo y se la escribo hoy."
    )


def _who(context: CallContext, knows: Knowledge, _: str) -> Iterator[Step]:
    yield Say(f"Soy {context.agent_name}, la asistente que habló con usted sobre {_product(knows)}.")


def _recall(_: CallContext, knows: Knowledge, __: str) -> Iterator[Step]:
    summary = knows.named("call_summary", "summary", "resumen")
    if summary:
        yield Say(f"Sí{_greeted(knows)}, lo recuerdo. {summary}")
    else:
        yield Say(f"Sí{_greeted(knows)}: hablamos de {_product(knows)}.")


def _open_points(_: CallContext, knows: Knowledge, __: str) -> Iterator[Step]:
    points = knows.named(
        "open_point", "open_question", "pending", "pendiente", "next_step", "proximo", "agreed"
    )
    yield Say(f"Quedó pendiente esto: {points}" if points else "No quedó nada pendiente de nuestra llamada.")


def _thanks(_: CallContext, knows: Knowledge, __: str) -> Iterator[Step]:
    yield Say(f"Con mucho gusto{_greeted(knows)}. Aquí estoy para lo que necesite.")


def _hello(_: CallContext, knows: Knowledge, __: str) -> Iterator[Step]:
    yield Say(f"¡Hola{_greeted(knows)}! Seguimos con {_product(knows)}. ¿En qué le ayudo?")


def _goodbye(context: CallContext, knows: Knowledge, _: str) -> Iterator[Step]:
    yield Say(f"¡Hasta luego{_greeted(knows)}! Que tenga un buen día.")
    if "end_call" in context.tools:
        yield EndCall("The user said goodbye")


def _advisor(context: CallContext, _: Knowledge, text: str) -> Iterator[Step]:
    if REQUEST_ADVISOR not in context.tools:
        yield Say("Le paso su solicitud a un asesor y le escribe por aquí.")
        return
    yield Say("Un momento, lo consulto.")
    yield CallTool(REQUEST_ADVISOR, {"reason": text})
    if context.tool_results and context.tool_results[-1].is_error:
        yield Say("Ahora mismo no logro comunicarme con un asesor. ¿Quiere que le deje su recado?")
    else:
        yield Say("Estoy comunicándole con un asesor, espere un momento por favor.")


def _advisor_missing(_: CallContext, __: Knowledge, ___: str) -> Iterator[Step]:
    yield Say("No logró contestar. ¿Quiere que le deje su recado, o pruebo con otra persona?")


def _message(context: CallContext, _: Knowledge, text: str) -> Iterator[Step]:
    if TAKE_MESSAGE in context.tools:
        yield CallTool(TAKE_MESSAGE, {"message": text})
    yield Say("Listo, dejo su recado y le responden lo antes posible.")


def _echo(_: CallContext, knows: Knowledge, text: str) -> Iterator[Step]:
    words = " ".join(_TOKEN.sub("", text).split()[:_ECHO_WORDS])
    yield Say(f"Entiendo{_greeted(knows)}: «{words}». Lo reviso con el equipo y le confirmo por aquí.")


_INTENTS: Final[Sequence[tuple[re.Pattern[str], Callable[[CallContext, Knowledge, str], Iterator[Step]]]]] = (
    (re.compile(r"no (contesto|contesta|respondio|responde|atendio)|esta ocupad"), _advisor_missing),
    (re.compile(r"\b(recado|dej\w+ un mensaje)\b"), _message),
    (re.compile(r"\b(asesor\w*|humano|una persona|con alguien)\b"), _advisor),
    (re.compile(r"\b(quien eres|quien es usted|quien habla|con quien hablo|eres un robot)\b"), _who),
    (re.compile(r"\b(de que hablamos|que hablamos|recuerda\w*|resumen|la llamada)\b"), _recall),
    (re.compile(r"\b(pendiente\w*|que falta|siguiente paso|quedamos|acordamos)\b"), _open_points),
    (re.compile(r"\b(precio|cuanto cuesta|cuanto vale|cuanto sale|costo|valor|cotiza\w*)\b"), _price),
    (re.compile(r"\b(cuando|fecha|que dia|a que hora)\b"), _date),
    (re.compile(r"\b(adios|chao|hasta luego|nos vemos)\b"), _goodbye),
    (re.compile(r"\bgracias\b"), _thanks),
    (re.compile(r"^\W*(hola|buen[oa]s)\b[^a-z]*(dias|tardes|noches)?\W*$"), _hello),
    (re.compile(""), _echo),
)
