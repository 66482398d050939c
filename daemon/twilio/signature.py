"""Is a request Twilio's? Pure.

`X-Twilio-Signature` is the base64 of an HMAC-SHA1, keyed with the account's Auth Token, over the URL that Twilio
called and, for a form, every name followed by its value, names sorted (Twilio docs: usage/security).

The SDK's validator does not do: it fails on a missing header, takes the user's name for the host when it strips
a port, adds `:80` to `wss`, and loses repeated names in a plain mapping.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

Fields: TypeAlias = Iterable[tuple[str, str]]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _spellings(public_url: str) -> Sequence[str]:
    """The public URL as it was configured and, since Twilio is not consistent about it, with and without a port."""
    url = urlsplit(public_url.rstrip("/"))
    user, at, host = url.netloc.rpartition("@")
    if url.port is not None:
        bare = host.rpartition(":")[0]
        other = f"{user}{at}{bare}"
    else:
        other = f"{user}{at}{host.rstrip(':')}:{_DEFAULT_PORTS[url.scheme]}"
    return [f"{url.scheme}://{netloc}{url.path}" for netloc in (url.netloc, other)]


def _keys(tokens: Sequence[str]) -> Sequence[bytes]:
    return [token.encode() for token in tokens if token.strip()]


@define
class SignatureCheck:
    """Checks requests that reached us below one public URL.

    Every method takes the `target` of the request as it came over the wire: path and raw query, byte for byte.
    Neither `Host` nor any forwarded header plays a part. A missing signature is a wrong one.

    Attributes:
        public_url: scheme, host, port if Twilio was given one, and a path if we do not live at the root.
        tokens: Auth Tokens that are accepted: one, or two while they rotate. Blank ones are left out.

    Raises:
        ValueError: from the constructor, when no token is left or the URL is none.
    """

    public_url: str
    tokens: Sequence[str] = field(repr=False)
    _bases: Sequence[str] = field(init=False)
    _keys: Sequence[bytes] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if urlsplit(self.public_url).scheme not in _DEFAULT_PORTS:
            raise ValueError("the public URL starts with http or https")
        self._bases = _spellings(self.public_url)
        self._keys = _keys(self.tokens)
        if not self._keys:
            raise ValueError("a signature check needs a token")

    def form(self, target: str, fields: Fields, signature: str | None) -> bool:
        """A POST with a form. `fields` are all of it, decoded, blank values and repeated names included."""
        return self._is_signed([base + target for base in self._bases], _flat(fields), signature)

    def query(self, target: str, signature: str | None) -> bool:
        """A GET, whose fields are in its query."""
        return self._is_signed([base + target for base in self._bases], "", signature)

    def body(self, target: str, body: bytes, signature: str | None) -> bool:
        """A POST with any other body, whose SHA-256 stands in the query as `bodySHA256`, in hexadecimal."""
        named = parse_qs(target.partition("?")[2]).get("bodySHA256", [""])[0]
        actual = hashlib.sha256(body).hexdigest()
        if not hmac.compare_digest(named.lower().encode("utf-8", "replace"), actual.encode("ascii")):
            return False
        return self.query(target, signature)

    def upgrade(self, target: str, signature: str | None) -> str | None:
        """A WebSocket upgrade: the URL that was signed, None when none of the likely ones was.

        Reports differ on what Twilio signs there: scheme `wss` or `https`, the path with or without a slash
        at its end, with or without a port (twilio-aspnet issue 162).
        """
        path = target.rstrip("/")
        for base in self._bases:
            scheme, _, rest = base.partition("://")
            for signed_scheme in (scheme.replace("http", "ws"), scheme):
                for end in ("", "/"):
                    url = f"{signed_scheme}://{rest}{path}{end}"
                    if self._is_signed([url], "", signature):
                        return url
        return None

    def _is_signed(self, urls: Iterable[str], flat: str, signature: str | None) -> bool:
        if not signature:
            return False
        given = signature.encode("utf-8", "replace")
        return any(
            hmac.compare_digest(_signature(key, url, flat), given) for url in urls for key in self._keys
        )


def _flat(fields: Fields) -> str:
    """Names and values as they are signed: sorted, without separators, a repeated pair once."""
    return "".join([name + value for name, value in sorted(set(fields))])


def _signature(key: bytes, url: str, flat: str) -> bytes:
    # A lone surrogate has no UTF-8, and nothing that Twilio signs has one.
    return base64.b64encode(hmac.digest(key, (url + flat).encode("utf-8", "replace"), "sha1"))
