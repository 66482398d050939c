"""Who may use the admin routes."""

import hmac

from attrs import frozen
from quart import Request

from daemon.web.problem import HttpError


@frozen
class AdminGuard:
    """Asks for `Authorization: Bearer` with the admin token.

    Such a header is never sent by a browser on its own, so requests with it need no token against forgery.
    """

    token: str

    def check(self, request: Request) -> None:
        """Raises `HttpError` 401 without the token."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # Both sides as bytes: compare_digest takes no text beyond ASCII.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise HttpError(
                status=401, code="unauthorized", message="send the admin token as Authorization: Bearer"
            )
