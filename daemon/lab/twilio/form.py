"""A form or query string, in the order and with the repetitions in which it came."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from attrs import frozen

FIELDS_MAX = 1_000


@frozen
class Form:
    pairs: Sequence[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """The first value of a name; blank values are kept."""
        return next((value for key, value in self.pairs if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]


def parse_form(text: bytes) -> Form:
    """Read a form body or a query string.

    Raises:
        ValueError: more than `FIELDS_MAX` fields.
    """
    return Form(parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX))
