"""Sessions of the admin page: a signed cookie, and the token that shows that a form is the page's own.

Nothing is stored but the sessions that were signed out. Both keys come from the admin token, so that changing it
ends every session; a restart of the daemon ends none.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field, frozen
from itsdangerous import BadSignature, TimestampSigner, URLSafeTimedSerializer
from typing_extensions import override

_SIGNED_OUT_MAX = 1000
_HOUR_S = 3600


@frozen
class Session:
    """A browser that signed in. `csrf_token` is the session's own and has to come with every change."""

    id: str
    csrf_token: str = field(repr=False)

    def owns(self, csrf_token: str) -> bool:
        # As bytes: compare_digest takes no text beyond ASCII.
        return hmac.compare_digest(csrf_token.encode(errors="replace"), self.csrf_token.encode())


@define
class Sessions:
    """Opens and reads sessions.

    Args:
        admin_token: what the keys are made of.
        hours: how long a session lasts.
        now_s: gives the time as a Unix timestamp.
    """

    _admin_token: str = field(repr=False)
    _hours: float
    _now_s: Callable[[], float]
    _key: bytes = field(init=False, repr=False)
    _serializer: URLSafeTimedSerializer = field(init=False, repr=False)
    _signed_out: OrderedDict[str, None] = field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        # Slow on purpose, once: a cookie must not become a way to try weak tokens at leisure.
        self._key = hashlib.scrypt(
            self._admin_token.encode(), salt=b"relevo admin sessions", n=2**14, r=8, p=1, dklen=32
        )
        now_s = self._now_s

        class Signer(TimestampSigner):
            @override
            def get_timestamp(self) -> int:
                return int(now_s())

        self._serializer = URLSafeTimedSerializer(
            self._key,
            salt=b"session",
            signer=Signer,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    @property
    def max_age_s(self) -> int:
        return int(self._hours * _HOUR_S)

    def open(self) -> str:
        """The cookie of a new session."""
        return str(self._serializer.dumps(secrets.token_urlsafe(16)))

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie that is ours, not too old and not signed out."""
        try:
            session_id = self._serializer.loads(cookie.encode(errors="replace"), max_age=self.max_age_s)
        except BadSignature:
            return None
        if not isinstance(session_id, str) or session_id in self._signed_out:
            return None
        digest = hmac.new(self._key, b"csrf " + session_id.encode(), hashlib.sha256)
        return Session(session_id, digest.hexdigest())

    def sign_out(self, session: Session) -> None:
        """End a session for whoever has its cookie. Forgotten at the next start, and after 1,000 others."""
        self._signed_out[session.id] = None
        while len(self._signed_out) > _SIGNED_OUT_MAX:
            self._signed_out.popitem(last=False)
