"""How Twilio signs what it requests (Twilio docs: usage/webhooks/webhooks-security)."""

import base64
import hashlib
import hmac
from collections.abc import Iterable

SIGNATURE_HEADER = "X-Twilio-Signature"


def signature(auth_token: str, url: str, params: Iterable[tuple[str, str]] = ()) -> str:
    """Sign one request.

    Args:
        auth_token: the account's token, the key of the HMAC-SHA1.
        url: exactly as requested, query included, fragment not.
        params: the form's fields. None for GET and for a JSON body, whose digest stands in the query. A pair
            that is there twice counts once, and a blank value counts with its name.
    """
    data = url + "".join(name + value for name, value in sorted(set(params)))
    digest = hmac.new(auth_token.encode(), data.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")
