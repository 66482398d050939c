"""Approved message templates, as the Content API knows them (Twilio docs: content/using-variables-with-content-api)."""

import json
import re
from collections.abc import Mapping
from typing import Final

from attrs import Factory, frozen

from daemon.lab.twilio.errors import RestError

PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
UNFIT: Final = re.compile(r"[\n\t]| {5}")


@frozen(kw_only=True)
class Template:
    """A template.

    Attributes:
        sid: `HX` and 32 hex digits.
        body: its text with `{{1}}` or `{{name}}` for variables.
        defaults: what stands for a variable that is not given.
        refused_code: the code with which its messages fail: 63040 rejected, 63041 paused, 63042 disabled.
    """

    sid: str
    body: str
    defaults: Mapping[str, str] = Factory(dict)
    refused_code: int | None = None

    def lacks(self, variables: Mapping[str, str]) -> bool:
        """Whether a placeholder has neither a value nor a default; Meta then refuses the message (63028)."""
        return any(
            name not in variables and name not in self.defaults for name in PLACEHOLDER.findall(self.body)
        )

    def render(self, variables: Mapping[str, str]) -> str:
        values = {**self.defaults, **variables}
        return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), self.body)


def parse_variables(text: str | None) -> dict[str, str]:
    """Read `ContentVariables`.

    Raises:
        RestError: 21656: no JSON object of strings, or a value that WhatsApp takes in no template: an empty one,
            a line break, a tab, more than four spaces in a row.
    """
    if text is None:
        return {}
    try:
        variables = json.loads(text)
    except ValueError:
        raise RestError(400, 21656) from None
    if not isinstance(variables, dict):
        raise RestError(400, 21656)
    for value in variables.values():
        if not isinstance(value, str) or not value.strip() or UNFIT.search(value):
            raise RestError(400, 21656)
    return variables
