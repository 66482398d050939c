"""What goes wrong at the door, as an answer that names it."""

from collections.abc import Mapping

from attrs import Factory, frozen


@frozen(kw_only=True)
class HttpError(Exception):
    """Ends a request with this status and `{"error": {"code", "message", "field"}}`.

    Attributes:
        code: stable, for programs; `message` is for people and contains nothing that was sent to us.
        field: the field at fault, if one is.
        headers: further ones of the answer.
    """

    status: int
    code: str
    message: str
    field: str | None = None
    headers: Mapping[str, str] = Factory(dict)

    @property
    def body(self) -> dict[str, object]:
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.field is not None:
            error["field"] = self.field
        return {"error": error}
