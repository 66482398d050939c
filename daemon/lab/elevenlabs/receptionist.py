"""The simulated agent on the telephone: a Spanish receptionist who connects callers with advisors and takes messages.

What is said to her is the caller's. What is written, or stands in brackets, is a note of the business: it tells how the
search for an advisor stands, by itself or with the contextual updates before it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from daemon.lab.elevenlabs.brain import (
    REQUEST_ADVISOR,
    TAKE_MESSAGE,
    Brain,
    CallContext,
    CallTool,
    EndCall,
    SalesBrain,
    Say,
    Step,
    ToolResult,
    is_note,
    plain_text,
    with_tokens,
)

NOBODY: Final = "En este momento no hay ningún asesor disponible. ¿Quiere dejar un mensaje?"
_OFFER: Final = "¿Quiere que pruebe con otro asesor, o prefiere dejar un mensaje?"
_ANYTHING_ELSE: Final = "¿Le ayudo en algo más?"


@define
class ReceptionistBrain:
    """Answers what is about advisors and messages herself; for all else there is `other`."""

    other: Brain = field(factory=SalesBrain)

    def reply(self, context: CallContext, text: str) -> Iterator[Step]:
        news = "\n".join(context.news)
        context.news.clear()
        steps = _answer_to_note(text, news) if _is_note(context, text) else None
        if steps is None:
            steps = _answer_to_caller(context, text)
        if steps is None:
            yield from self.other.reply(context, text)
        else:
            yield from with_tokens(steps, text)


def _is_note(context: CallContext, text: str) -> bool:
    return context.is_typed or is_note(text)


# --- Notes ----------------------------------------------------------------------------------------------

_NO_MORE: Final = re.compile(
    r"\b(no (hay|queda\w*)|ningun\w*|nadie|sin) (otr\w+|mas|ningun\w*|asesor\w*|nadie)\b"
)
_BUSY: Final = re.compile(r"\bocupad[oa]s?\b")


def _missed(who: str, note: str) -> str:
    if re.search(r"\bno (hay|queda\w*)\b.*\bdisponible", note):
        return NOBODY
    what = "tiene la línea ocupada" if _BUSY.search(note) else "no contestó"
    offer = "¿Quiere dejar un mensaje?" if _NO_MORE.search(note) else _OFFER
    return f"{who} {what}. {offer}"


def _left(who: str, _: str) -> str:
    return f"{who} ya terminó la llamada y sigo aquí con usted. {_ANYTHING_ELSE}"


def _joined(who: str, _: str) -> str:
    return f"Le paso con {_inside(who)}, que le atienda bien."


def _connecting(who: str, _: str = "") -> str:
    other = "un asesor" if who == _SOMEBODY else who
    return f"Estoy comunicándole con {other}, espere un momento por favor."


# The first that fits counts.
_NOTES: Final[Sequence[tuple[re.Pattern[str], Callable[[str, str], str]]]] = (
    (re.compile(r"\b(sin|antes de) (aceptar|contestar)\b|\bno acepto\b"), _missed),
    (
        re.compile(
            r"\bcolg(o|aron)\b|\btermino (la|su) \w+|\bse (fue|retiro|desconecto)\b"
            r"|\b(salio|se salio|dejo) (de )?la llamada\b|\bya no esta en la (linea|llamada)\b"
        ),
        _left,
    ),
    (
        re.compile(
            r"\bno (contest|respond|atend|atiend|pud|pued|logr|esta disponible|hay|queda)"
            r"|\bocupad[oa]|\brechaz|\bsin respuesta\b|\bnadie\b|\bfallo\b|\bno fue posible\b"
        ),
        _missed,
    ),
    (
        re.compile(
            r"\b(en|a) la (linea|llamada|sala)\b|\bse (unio|une|incorporo|sumo|conecto)\b|\bacepto\b"
            r"|\bcontesto\b|\btomo la llamada\b|\bya esta con\b"
        ),
        _joined,
    ),
    (re.compile(r"\b(llamando|marcando|suena|timbra|buscando|se llama)\b"), _connecting),
)


def _answer_to_note(text: str, news: str) -> Iterator[Step] | None:
    """What a note is about stands in it, or in the updates before it."""
    for source in (text, news):
        plain = plain_text(source)
        for pattern, wording in _NOTES:
            if pattern.search(plain):
                return iter([Say(wording(_name_in(f"{text}\n{news}"), plain))])
    return None


# --- The caller -----------------------------------------------------------------------------------------


def _advisor(context: CallContext, text: str) -> Iterator[Step]:
    if REQUEST_ADVISOR not in context.tools:
        yield Say("Le paso su solicitud a un asesor y le llama en cuanto pueda.")
        return
    name = _name_asked_for(text)
    wanted: Mapping[str, Any] = {"reason": text} if name is None else {"reason": text, "advisor": name}
    yield Say("Claro, permítame un momento, por favor.")
    yield CallTool(REQUEST_ADVISOR, wanted)
    result = context.tool_results[-1]
    if _is_refusal(result):
        yield Say(NOBODY)
    else:
        found = _name_in(result.result)
        yield Say(_connecting(_first_name(name) if found == _SOMEBODY and name is not None else found))


def _message(context: CallContext, _: str) -> Iterator[Step]:
    if TAKE_MESSAGE not in context.tools:
        yield Say("Listo, le paso su recado al equipo.")
        return
    yield CallTool(TAKE_MESSAGE, {})
    if _is_refusal(context.tool_results[-1]):
        yield Say(f"Disculpe, ahora mismo no puedo tomar su mensaje. {_ANYTHING_ELSE}")
    else:
        yield Say("Deje su mensaje después del tono.")


def _is_refusal(result: ToolResult) -> bool:
    return result.is_error or _REFUSED.search(plain_text(result.result)) is not None


def _decline(_: CallContext, __: str) -> Iterator[Step]:
    yield Say(f"De acuerdo. {_ANYTHING_ELSE}")


def _goodbye(context: CallContext, _: str) -> Iterator[Step]:
    yield Say("Gracias por llamar. ¡Hasta luego!")
    if "end_call" in context.tools:
        yield EndCall("The caller said goodbye")


Answering: TypeAlias = Callable[[CallContext, str], Iterator[Step]]


@frozen
class _Intent:
    """`offered`: only right after the agent offered a message."""

    pattern: re.Pattern[str]
    answer: Answering
    offered: bool = False


_INTENTS: Final[Sequence[_Intent]] = (
    _Intent(re.compile(r"\b(adios|chao|hasta (luego|pronto)|es todo|nada mas)\b"), _goodbye),
    _Intent(
        re.compile(
            r"\b(otr[oa]s? (asesor|persona|ejecutiv|compan)|alguien mas|pruebe|intente|(con|a) (el )?otr[oa]\b|siguiente)"
        ),
        _advisor,
    ),
    _Intent(re.compile(r"\b(recado|mensaje|grab\w+)\b"), _message),
    _Intent(re.compile(r"\b(asesor|human[oa]\b|persona\b|alguien\b|ejecutiv|operador|encargad)"), _advisor),
    _Intent(re.compile(r"\b(comuni\w+|pas\w+|transfi\w+|hablar) con\b"), _advisor),
    _Intent(re.compile(r"^\W*no\b"), _decline, offered=True),
    _Intent(re.compile(r"\b(si|claro|por favor|esta bien|de acuerdo|bueno|dele)\b"), _message, offered=True),
)


def _answer_to_caller(context: CallContext, text: str) -> Iterator[Step] | None:
    plain = plain_text(text)
    last = next((words for role, words in reversed(context.said) if role == "agent"), "")
    was_offered = last.endswith("?") and ("mensaje" in last or "recado" in last)
    for intent in _INTENTS:
        if intent.pattern.search(plain) and (was_offered or not intent.offered):
            return intent.answer(context, text)
    return None


# --- Names ----------------------------------------------------------------------------------------------

_SOMEBODY: Final = "El asesor"
_NAME: Final = r"[A-ZÁÉÍÓÚÑ][a-záéíóúñü]+(?: [A-ZÁÉÍÓÚÑ][a-záéíóúñü]+)*"
_TITLE: Final = r"(?:(?:el|la|los|las|don|doña|señora?|asesora?|licenciad[oa]|ingenier[oa]) )*"
_ASKED_FOR: Final = re.compile(rf"\b(?:con|a|para) {_TITLE}({_NAME})")
# A name stands in JSON as a value, behind what calls it one, or before what somebody does.
_NAMED: Final = (
    re.compile(rf'"(?:advisor|asesora?|name|nombre)"\s*:\s*"({_NAME})'),
    re.compile(rf"\b(?:[Aa]sesora?|con|a) {_TITLE}({_NAME})"),
    re.compile(rf"({_NAME}),? (?:no |ya |est[áa]|se |acept|contest|colg|termin|tom[óo]|rechaz|sali|dej[óo])"),
)
# What begins a sentence like a name.
_NO_NAME: Final = re.compile(
    "Sistema|Nota|Aviso|Asesora?|El|La|Los|Las|Una?|Cliente|Nadie|Ning[uú]no?|Llamada|No|Ya|Se|Dígale|Diga|Avise"
    "|Ofrezca|Despídase|Siga|Est[ea]|Ese"
)
_REFUSED: Final = re.compile(
    r"\bno hay\b|\bnadie\b|\bningun|\bno (esta|estan) disponible|\bfuera de horario\b|\bno (es|fue) posible\b"
    r"|\b(no_advisor|nobody|unavailable|not_found|closed|failed|error)\b"
)


def _name_asked_for(text: str) -> str | None:
    found = _ASKED_FOR.search(text)
    return found[1] if found else None


def _name_in(text: str) -> str:
    """The first name of whom a note or a result speaks."""
    for pattern in _NAMED:
        for found in pattern.finditer(text):
            name = _first_name(found[1])
            if not _NO_NAME.fullmatch(name):
                return name
    return _SOMEBODY


def _first_name(name: str) -> str:
    return name.split(maxsplit=1)[0]


def _inside(who: str) -> str:
    """As it stands within a sentence."""
    return "el asesor" if who == _SOMEBODY else who
