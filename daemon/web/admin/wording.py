"""The pages' words: Spanish names for what the status calls by its key."""

from collections.abc import Mapping
from datetime import UTC, datetime

NAMES: Mapping[str, Mapping[str, str]] = {
    "phases": {"starting": "arrancando", "serving": "en servicio", "draining": "terminando"},
    # Of a watcher that does not run, where that is no fault.
    "resting": {"starting": "aún no empieza", "draining": "ya terminó"},
    "queue_names": {
        "inbound_pending": "Mensajes por responder",
        "outbound_pending": "Por enviar",
        "outbound_in_doubt": "En camino o en duda",
        "dead_letters": "No entregados",
    },
    "watcher_names": {
        "monitor": "llamadas",
        "reaper": "conexiones ociosas",
        "recovery": "recuperación",
        "inbox_check": "mensajes perdidos",
        "outbox": "envíos",
        "holds": "pausas de campañas",
        "transfer": "desvíos",
        "readmission": "regreso del agente",
    },
    "call_phases": {
        "arriving": "entrando",
        "with_agent": "con el agente",
        "transferring": "llamando a un asesor",
        "with_advisor": "con un asesor",
        "recalling": "esperando al agente",
        "at_menu": "en el menú",
        "at_voicemail": "dejando un mensaje",
        "ending": "despidiéndose",
        "ended": "terminada",
    },
    "statuses": {
        "active": "activa",
        "escalated": "con una persona",
        "window_closed": "fuera de las 24 horas",
    },
}


def moment(at: str | None) -> str:
    """An ISO 8601 time as day and minute."""
    if not at:
        return "—"
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%d/%m %H:%M")


def clock(seconds: int) -> str:
    """How long a call lasts, as a telephone shows it."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02}"


def since(seconds: float) -> str:
    minutes = int(seconds // 60)
    hours, days = minutes // 60, minutes // 1440
    if minutes < 1:
        return "menos de un minuto"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"
