"""How a simulated phone call goes, and what its conversation holds afterwards."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from attrs import Factory, field, frozen
from attrs.validators import ge


class Outcome(StrEnum):
    COMPLETED = "completed"
    VOICEMAIL = "voicemail"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Called off before it was dialled."""


@frozen(kw_only=True)
class Line:
    """One thing said in a call. `role` is `agent` or `user`."""

    role: str
    text: str
    at_s: int


@frozen(kw_only=True)
class CallScript:
    """One call. What is None is written from the call's dynamic variables.

    Attributes:
        duration_s: length the call reports.
        ring_s: from dialling to the answer, or to giving up.
        talk_s: how long the call really takes here once answered.
        analysis_delay_s: from hang-up to `done`.
        hold: once answered, the call goes on until it is finished by hand.
        collected: values of data collection fields, by field id.
        sentiment: `positive`, `neutral` or `negative`; only lists of conversations show it.
        successful: `success`, `failure` or `unknown`.
    """

    outcome: Outcome = field(default=Outcome.COMPLETED, converter=Outcome)
    duration_s: int = field(default=62, validator=ge(0))
    ring_s: float = field(default=0.0, validator=ge(0))
    talk_s: float = field(default=0.0, validator=ge(0))
    analysis_delay_s: float = field(default=0.0, validator=ge(0))
    hold: bool = False
    lines: Sequence[Line] | None = None
    summary: str | None = None
    title: str | None = None
    collected: Mapping[str, Any] | None = None
    sentiment: str = "positive"
    successful: str = "success"


def read_script(body: Mapping[str, Any]) -> CallScript:
    """A script from JSON, with the names of `CallScript`'s attributes.

    Raises:
        TypeError, ValueError: an unknown name or a value out of range.
    """
    lines = body.get("lines")
    return CallScript(**{**body, "lines": None if lines is None else tuple(Line(**line) for line in lines)})


@frozen(kw_only=True)
class Story:
    """What a call turned out to hold."""

    lines: Sequence[Line] = ()
    summary: str = ""
    title: str = ""
    collected: Mapping[str, Any] = Factory(dict)


_PRICES: Final = ("$480.000", "$1.250.000", "$2.900.000")


def _first(variables: Mapping[str, Any], names: Sequence[str], default: str) -> str:
    return next((str(variables[name]) for name in names if variables.get(name)), default)


def story_of(script: CallScript, variables: Mapping[str, Any]) -> Story:
    """The script's own words, or a Spanish sales call about what the variables name."""
    if script.outcome is Outcome.VOICEMAIL:
        written = _voicemail(variables)
    elif script.outcome is Outcome.COMPLETED:
        written = _sales_call(variables)
    else:
        written = Story()
    return Story(
        lines=written.lines if script.lines is None else script.lines,
        summary=written.summary if script.summary is None else script.summary,
        title=written.title if script.title is None else script.title,
        collected=written.collected if script.collected is None else script.collected,
    )


def _sales_call(variables: Mapping[str, Any]) -> Story:
    name = _first(variables, ("customer_name", "name", "client_name", "nombre"), "qué tal")
    product = _first(variables, ("product", "producto", "campaign"), "nuestro servicio")
    price = _PRICES[len(product) % len(_PRICES)]
    lines = (
        Line(role="agent", text=f"Hola {name}, le llamo por {product}. ¿Tiene un minuto?", at_s=0),
        Line(role="user", text="Sí, cuénteme. ¿Cuánto cuesta y cuándo me lo entregan?", at_s=6),
        Line(role="agent", text=f"El precio es {price} y la entrega toma tres días hábiles.", at_s=12),
        Line(role="user", text="Me interesa, pero tengo que consultarlo con mi socio.", at_s=24),
        Line(role="agent", text="Claro. ¿Le envío la cotización por WhatsApp y hablamos el jueves?", at_s=33),
        Line(role="user", text="Perfecto, el jueves está bien. Muchas gracias.", at_s=45),
        Line(role="agent", text=f"Con mucho gusto, {name}. ¡Que tenga un buen día!", at_s=52),
    )
    summary = (
        f"{name} preguntó por {product}. El precio es {price} y la entrega toma tres días hábiles. "
        "Quiere consultarlo con su socio. Se acordó enviarle la cotización por WhatsApp y hablar el jueves."
    )
    collected = {
        "intent": "cotización",
        "topics": f"{product}, precio, entrega",
        "pending_question": "Consultarlo con su socio",
        "next_step": "Enviar la cotización por WhatsApp y hablar el jueves",
    }
    return Story(lines=lines, summary=summary, title=f"Cotización de {product}", collected=collected)


def _voicemail(variables: Mapping[str, Any]) -> Story:
    name = _first(variables, ("customer_name", "name", "client_name", "nombre"), "el cliente")
    lines = (Line(role="user", text="Hola, deja tu mensaje después del tono.", at_s=2),)
    return Story(lines=lines, summary=f"Contestó el buzón de voz de {name}.", title="Buzón de voz")


def value_for_field(collected: Mapping[str, Any], field_id: str) -> Any:
    """The value of a data collection field that the script may know under a longer or shorter name."""
    if field_id in collected:
        return collected[field_id]
    for known, value in collected.items():
        if known.rstrip("s") in field_id or field_id.rstrip("s") in known:
            return value
    return None
