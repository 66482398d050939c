"""Identifiers as ElevenLabs writes them, repeatable by seed."""

import random
from typing import Final

from attrs import define, field

# Crockford's alphabet, as in `conv_7401k5m9x2p8ec3rqv6dtnhb0fzw`.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH: Final = 28


@define(eq=False)
class Ids:
    """New identifiers and event numbers; one seed gives one sequence."""

    seed: int
    _random: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        # Repeatable names are wanted here, not secrets.
        self._random = random.Random(f"{self.seed}/ids")  # noqa: S311

    def new(self, prefix: str) -> str:
        return prefix + "".join(self._random.choices(_ALPHABET, k=_LENGTH))

    def new_hex(self, prefix: str) -> str:
        """A Twilio-like SID: prefix and 32 hexadecimal digits."""
        return f"{prefix}{self._random.getrandbits(128):032x}"

    def step(self) -> int:
        """How far the next event id of a socket lies from the last: they grow by no fixed step."""
        return self._random.choice((1, 1, 1, 2, 3))
