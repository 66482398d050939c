"""`daemon.twilio.signature`, against Twilio's vectors and the SDK's validator."""

import hashlib
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from werkzeug.datastructures import MultiDict

from daemon.twilio.signature import Fields, SignatureCheck

TOKEN = "12345"
MY_COMPANY = "https://mycompany.com"
TARGET = "/myapp.php?foo=1&bar=2"
CALL = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]
CALL_SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
MESSAGE_BODY = (
    "SmsMessageSid=SM00000000000000000000000000000001&NumMedia=0&ProfileName=Zo%C3%AB&MessageType=text"
    "&SmsSid=SM00000000000000000000000000000001&WaId=5215512345678&SmsStatus=received"
    "&Body=Hola%2C+%C2%BFc%C3%B3mo+est%C3%A1s%3F&To=whatsapp%3A%2B14155238886&NumSegments=1&ReferralNumMedia=0"
    "&MessageSid=SM00000000000000000000000000000001&AccountSid=AC00000000000000000000000000000000"
    "&From=whatsapp%3A%2B5215512345678&ApiVersion=2010-04-01"
)


def signature_of(token: str, url: str, fields: Fields = ()) -> str:
    """What the SDK makes of it."""
    return str(RequestValidator(token).compute_signature(url, MultiDict(fields)))


def check(public_url: str = MY_COMPANY, *tokens: str) -> SignatureCheck:
    return SignatureCheck(public_url, tokens or (TOKEN,))


class TestVectors:
    def test_a_form_with_a_query_in_its_url(self) -> None:
        assert check().form(TARGET, CALL, CALL_SIGNATURE)

    def test_repeated_names_count_each_value_once(self) -> None:
        fields = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234")]
        assert check().form(TARGET, [*fields, ("Digits", "1234")], "IK+Dwps556ElfBT0I3Rgjkr1wJU=")

    def test_a_json_body_is_hashed_in_the_url(self) -> None:
        body = b'{"property": "value", "boolean": true}'
        digest = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
        target = f"{TARGET}&bodySHA256={digest}"
        assert check().body(target, body, "a9nBmqA0ju/hNViExpshrM61xv4=")
        assert not check().body(target, body + b" ", "a9nBmqA0ju/hNViExpshrM61xv4=")

    def test_a_websocket_upgrade_says_which_url_was_signed(self) -> None:
        signed = check("https://api.tuempresa.com").upgrade("/media", "Zxmdm6Xdy9IpkfFZtI7U5c0JnPo=")
        assert signed == "wss://api.tuempresa.com/media"

    def test_a_whatsapp_message(self) -> None:
        fields = parse_qsl(MESSAGE_BODY, keep_blank_values=True)
        incoming = check("https://api.tuempresa.com/")
        assert incoming.form("/api/webhook/twilio/incoming", fields, "pDm04jNKjMNkvcLl+7guOAwYBHg=")


class TestRefused:
    @pytest.mark.parametrize(
        "signature",
        [None, "", "x", "RSOYDt4T1cUTdK1PDd93/VVr8B8", CALL_SIGNATURE.lower(), "ñ" * 28, "\udce9"],
    )
    def test_any_other_signature(self, signature: str | None) -> None:
        assert not check().form(TARGET, CALL, signature)

    @pytest.mark.parametrize(
        "fields", [[], CALL[1:], [*CALL, ("Extra", "1")], [*CALL[:-1], ("Caller", "+14158675300")]]
    )
    def test_any_other_form(self, fields: list[tuple[str, str]]) -> None:
        assert not check().form(TARGET, fields, CALL_SIGNATURE)

    @pytest.mark.parametrize("target", ["/myapp.php?bar=2&foo=1", "/myapp.php", "/MyApp.php?foo=1&bar=2"])
    def test_any_other_target(self, target: str) -> None:
        assert not check().form(target, CALL, CALL_SIGNATURE)

    def test_a_body_without_its_hash(self) -> None:
        assert not check().body(TARGET, b"{}", signature_of(TOKEN, MY_COMPANY + TARGET))

    def test_a_form_that_is_signed_as_a_query(self) -> None:
        assert not check().query(TARGET, CALL_SIGNATURE)

    @pytest.mark.parametrize("tokens", [(), ("",), ("", " ")])
    def test_no_token_at_all(self, tokens: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match="token"):
            SignatureCheck(MY_COMPANY, tokens)

    def test_a_public_url_that_is_none(self) -> None:
        with pytest.raises(ValueError, match="public URL"):
            SignatureCheck("mycompany.com", [TOKEN])

    def test_tokens_do_not_show_in_its_repr(self) -> None:
        assert TOKEN not in repr(check())


class TestTokens:
    def test_two_are_accepted_while_they_rotate(self) -> None:
        rotating = check(MY_COMPANY, "old", "", "new")
        for token in ("old", "new"):
            assert rotating.form(TARGET, CALL, signature_of(token, MY_COMPANY + TARGET, CALL))
        assert not rotating.form(TARGET, CALL, signature_of("", MY_COMPANY + TARGET, CALL))


class TestUrls:
    @pytest.mark.parametrize(
        ("configured", "signed"),
        [
            ("https://a.example.com", "https://a.example.com:443"),
            ("https://a.example.com:443", "https://a.example.com"),
            ("https://a.example.com:8443", "https://a.example.com"),
            ("http://a.example.com", "http://a.example.com:80"),
            ("https://user:pass@a.example.com:8443", "https://user:pass@a.example.com"),
            ("https://user:pass@a.example.com", "https://user:pass@a.example.com:443"),
            ("http://[::1]:8080", "http://[::1]"),
            ("http://[::1]", "http://[::1]:80"),
        ],
    )
    def test_a_port_may_be_signed_or_not(self, configured: str, signed: str) -> None:
        for url in (configured, signed):
            assert check(configured).query("/x?a=%20b&c", signature_of(TOKEN, url + "/x?a=%20b&c"))

    def test_a_public_url_may_have_a_path(self) -> None:
        signature = signature_of(TOKEN, "https://a.example.com/relevo/voice/incoming")
        assert check("https://a.example.com/relevo/").query("/voice/incoming", signature)

    @pytest.mark.parametrize(
        "signed",
        [
            "wss://a.example.com/voice/stream",
            "wss://a.example.com/voice/stream/",
            "https://a.example.com/voice/stream",
            "https://a.example.com/voice/stream/",
            "wss://a.example.com:443/voice/stream",
            "https://a.example.com:443/voice/stream/",
        ],
    )
    def test_an_upgrade_is_signed_in_one_of_several_ways(self, signed: str) -> None:
        signature = signature_of(TOKEN, signed)
        assert check("https://a.example.com").upgrade("/voice/stream", signature) == signed

    def test_an_upgrade_without_a_good_signature_is_none(self) -> None:
        assert check().upgrade("/voice/stream", None) is None
        assert check().upgrade("/voice/stream", CALL_SIGNATURE) is None

    def test_an_upgrade_on_plain_http_is_ws(self) -> None:
        signature = signature_of(TOKEN, "ws://127.0.0.1:3001/voice/stream")
        assert check("http://127.0.0.1:3001").upgrade("/voice/stream", signature) is not None


# Few names, so that they repeat; no half of a surrogate pair comes out of a form.
FIELD_NAMES = st.sampled_from(["Body", "From", "From ", "ñ", "MediaUrl0", "Media", "a&b=c"]) | st.text(
    min_size=1
)
FIELDS = st.lists(st.tuples(FIELD_NAMES, st.just("") | st.text()), max_size=8)
TARGETS = st.from_regex(r"/[a-z0-9/._~%-]{0,20}(\?[a-zA-Z0-9=&%+._-]{1,20})?", fullmatch=True)
ORIGINS = st.sampled_from(
    [
        "https://a.example.com",
        "http://a.example.com:3001",
        "https://a.example.com:8443",
        "https://a.example.com:443",
        "http://[::1]",
        "https://a.example.com/relevo",
    ]
)


def one_byte_changed(sent: bytes, place: int, step: int) -> bytes:
    place %= len(sent)
    return sent[:place] + bytes([(sent[place] + step) % 256]) + sent[place + 1 :]


def as_signed(fields: Fields) -> str:
    """Twilio signs names and values without separators: what moves from one into the other is not noticed."""
    return "".join(name + value for name, value in sorted(set(fields)))


def one_letter_changed(sent: str, place: int, step: int) -> str:
    """Another letter that may stand in a URL."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-._~/?=&%+ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    place = 1 + place % (len(sent) - 1) if len(sent) > 1 else 0
    here = letters.find(sent[place])
    return sent[:place] + letters[(here + 1 + step % (len(letters) - 1)) % len(letters)] + sent[place + 1 :]


CHANGES = {"place": st.integers(0, 500), "step": st.integers(1, 255)}


@given(origin=ORIGINS, target=TARGETS, fields=FIELDS, **CHANGES)
def test_a_form_is_refused_with_one_byte_of_anything_changed(
    origin: str, target: str, fields: list[tuple[str, str]], place: int, step: int
) -> None:
    body = urlencode(fields).encode()
    signature = signature_of(TOKEN, origin + target, fields)
    signed = check(origin)
    read = parse_qsl(body.decode(), keep_blank_values=True)
    assert signed.form(target, read, signature)

    changed = one_byte_changed(body or b"x", place, step).decode("latin-1")
    changed_fields = parse_qsl(changed, keep_blank_values=True, encoding="utf-8", errors="replace")
    if as_signed(changed_fields) != as_signed(read):
        assert not signed.form(target, changed_fields, signature)
    assert not signed.form(one_letter_changed(target, place, step), read, signature)
    assert not signed.form(target, read, one_byte_changed(signature.encode(), place, step).decode("latin-1"))
    assert not check(origin, "another").form(target, read, signature)


@given(origin=ORIGINS, target=TARGETS, body=st.binary(), **CHANGES)
def test_another_body_is_refused_with_one_byte_changed(
    origin: str, target: str, body: bytes, place: int, step: int
) -> None:
    joint = "&" if "?" in target else "?"
    target += f"{joint}bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = signature_of(TOKEN, origin + target)
    signed = check(origin)
    if target.count("bodySHA256") == 1:
        assert signed.body(target, body, signature)
    assert not signed.body(target, one_byte_changed(body, place, step) if body else b"x", signature)
    assert not signed.body(one_letter_changed(target, place, step), body, signature)


@given(origin=ORIGINS, target=TARGETS, fields=FIELDS, signature=st.text(max_size=40))
def test_whatever_the_sdk_takes_is_taken_and_nothing_else(
    origin: str, target: str, fields: list[tuple[str, str]], signature: str
) -> None:
    sdk = RequestValidator(TOKEN)
    for given_signature in (signature, signature_of(TOKEN, origin + target, fields)):
        taken = sdk.validate(origin + target, MultiDict(fields), given_signature)
        assert check(origin).form(target, fields, given_signature) == taken


@given(origin=ORIGINS, target=TARGETS, fields=FIELDS)
def test_forms_are_signed_as_the_sdk_does(origin: str, target: str, fields: list[tuple[str, str]]) -> None:
    signature = signature_of(TOKEN, origin + target, fields)
    assert RequestValidator(TOKEN).validate(origin + target, MultiDict(fields), signature)
    assert check(origin).form(target, fields, signature)
    assert check(origin).form(target, reversed(fields), signature)
    assert not check(origin).form(target + "x", fields, signature)
    assert not check(origin).form(target, [*fields, ("Another", "")], signature) or ("Another", "") in fields


@given(path=st.from_regex(r"/[a-z]{0,9}", fullmatch=True), text=st.text(st.characters(codec="utf-8")))
def test_bodies_are_signed_as_the_sdk_does(path: str, text: str) -> None:
    target = f"{path}?a=1&bodySHA256={hashlib.sha256(text.encode()).hexdigest()}"
    signature = signature_of(TOKEN, MY_COMPANY + target)
    assert RequestValidator(TOKEN).validate(MY_COMPANY + target, text, signature)
    assert check().body(target, text.encode(), signature)


@given(target=st.text(max_size=20), fields=FIELDS, signature=st.text(max_size=40))
def test_nothing_that_comes_over_the_wire_raises(
    target: str, fields: list[tuple[str, str]], signature: str
) -> None:
    assert not check().form(target, fields, signature)
    assert not check().body(target, b"{}", signature)
    assert check().upgrade(target, signature) is None
