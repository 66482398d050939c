"""Signed names: the one-time tokens of the agent's streams, and links to recordings that expire.

Nothing personal stands in them. Their key is made from the admin token, so that a new one makes all of them void.
"""

from typing import Any, Final

from attrs import define, field
from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer

_HOUR_S: Final = 3600


@define(eq=False)
class StreamTokens:
    """See `actors.live_call.world.Tokens`. That a token is used once is for the call to see to."""

    _key: bytes = field(repr=False)
    _serializer: URLSafeSerializer = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._serializer = URLSafeSerializer(self._key, salt="relevo voice stream")

    def token_of(self, live_call_id: int, leg: int) -> str:
        return str(self._serializer.dumps([live_call_id, leg]))

    def read(self, token: str) -> tuple[int, int] | None:
        value = _read(self._serializer, token)
        match value:
            case [int(live_call_id), int(leg)]:
                return live_call_id, leg
            case _:
                return None


@define(eq=False)
class RecordingLinks:
    """Links that work for so many hours from when they are made."""

    _key: bytes = field(repr=False)
    public_url: str
    path: str
    hours: float
    _serializer: URLSafeTimedSerializer = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._serializer = URLSafeTimedSerializer(self._key, salt="relevo recording")

    def link_of(self, recording_id: int) -> str:
        return f"{self.public_url}{self.path}/{self._serializer.dumps(recording_id)}"

    def read(self, name: str) -> int | None:
        """The recording that a link's last part names; None for one that is not ours, or has expired."""
        value = _read(self._serializer, name, max_age=self.hours * _HOUR_S)
        return value if isinstance(value, int) else None


def _read(serializer: Any, text: str, **options: float) -> Any:
    try:
        return serializer.loads(text, **options)
    except BadData:
        return None
