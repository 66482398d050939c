"""Values on their way into PostgreSQL and back."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from actors.messages import Outgoing, Purpose, Template

Row: TypeAlias = tuple[Any, ...]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

# An even number of backslashes before it: an escape, and no text that looks like one.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

# What every statement selects whose rows become `Outgoing`, in the order that `outgoing` reads; `m` is the message.
# An attempt under way is not counted among those before it.
OUTGOING = """
    m.id, m.person_id, m.conversation_id, m.address, m.purpose, m.content, m.template_sid, m.template_variables,
    m.must_use_template AND NOT EXISTS (
        SELECT FROM message i
        WHERE i.person_id = m.person_id AND i.direction = 'inbound' AND i.created_at > m.created_at
    ),
    m.attempts - (m.status = 'sending')::integer, coalesce(m.written_at, m.created_at), m.sending_since,
    (SELECT max(i.created_at) FROM message i WHERE i.person_id = m.person_id AND i.direction = 'inbound'),
    m.as_template_at IS NOT NULL
"""


def sole(row: Row | None) -> Row:
    """The row of a statement that always has one."""
    if row is None:
        raise LookupError("a statement returned no row")
    return row


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot store: NUL, and halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="replace").decode()
    return text.replace("\x00", "")


def storable_or_none(text: str | None) -> str | None:
    """As `storable`; empty text is None."""
    return storable(text) if text else None


def to_jsonb(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON text that a `jsonb` column takes; infinite numbers and those that are none become null."""
    try:
        encoded = _encode(value)
    except ValueError:
        encoded = _encode(_finite(value))
    text = storable(encoded)
    if "\\u0000" not in text:
        return text
    return _ESCAPED_NUL.sub(r"\1", text)


def _finite(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


def id_array(ids: Iterable[int]) -> str:
    """An array literal for a `%s::bigint[]`.

    Psycopg would choose the array's type by the size of its numbers, and so prepare a statement once for each.
    """
    return "{" + ",".join(map(str, ids)) + "}"


def template_columns(template: Template | None) -> dict[str, str | None]:
    if template is None:
        return {"template_sid": None, "template_variables": None}
    return {"template_sid": template.sid, "template_variables": to_jsonb(template.variables)}


def outgoing(row: Row) -> Outgoing:
    return Outgoing(
        id=row[0],
        person_id=row[1],
        conversation_id=row[2],
        address=row[3],
        purpose=Purpose(row[4]),
        text=row[5],
        template=None if row[6] is None else Template(sid=row[6], variables=row[7]),
        must_use_template=row[8],
        attempts=row[9],
        created_at=row[10],
        sending_since=row[11],
        window_opened_at=row[12],
        as_template=row[13],
    )
