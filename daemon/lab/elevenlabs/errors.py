"""The three shapes in which ElevenLabs refuses a REST call."""

from typing import Any


class RefusalError(Exception):
    """A refused REST call: its HTTP status and the `detail` of the JSON answer.

    `detail` is an object for business errors, a list for validation errors and a sentence for paths that
    do not exist (live service, ElevenLabs OpenAPI `HTTPValidationError`).
    """

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.detail = detail


def business_error(status: int, code: str, message: str, *, kind: str) -> RefusalError:
    detail = {
        "type": kind,
        "code": code,
        "status": code,
        "message": message,
        "request_id": None,
        "param": None,
    }
    return RefusalError(status, detail)


def not_found(what: str, identifier: str) -> RefusalError:
    return business_error(
        404,
        f"{what}_not_found",
        f"{what.replace('_', ' ').capitalize()} with id '{identifier}' not found.",
        kind="not_found",
    )


def invalid(*problems: tuple[tuple[str | int, ...], str, str]) -> RefusalError:
    """A 422 with one entry per problem: (location, message, type)."""
    return RefusalError(
        422, [{"loc": list(where), "msg": msg, "type": kind} for where, msg, kind in problems]
    )


_TYPE_WORDS = {str: "string", int: "integer", list: "list", dict: "dictionary", bool: "boolean"}


def require(body: dict[str, Any], **fields: type) -> None:
    """Check that a JSON body has these fields with these types; all problems are reported at once."""
    problems = []
    for name, kind in fields.items():
        if name not in body:
            problems.append((("body", name), "Field required", "missing"))
        elif not isinstance(body[name], kind):
            word = _TYPE_WORDS[kind]
            problems.append((("body", name), f"Input should be a valid {word}", f"{word}_type"))
    if problems:
        raise invalid(*problems)
