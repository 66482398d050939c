"""The rules of single settings."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.settings import rules
from daemon.settings.problems import UnfitError


@pytest.mark.parametrize(
    ("rule", "text", "normal"),
    [
        (rules.public_url, "https://a.co/", "https://a.co"),
        (rules.public_url, " HTTPS://a.co/relevo// ", "https://a.co/relevo"),
        (rules.public_url, "https://a.co:8443", "https://a.co:8443"),
        (rules.public_url, "http://127.0.0.1:3001", "http://127.0.0.1:3001"),
        (rules.public_url, "http://[::1]:3001/", "http://[::1]:3001"),
        (rules.public_url, "http://10.0.0.7", "http://10.0.0.7"),
        (rules.public_url, "http://relevo_1:3001", "http://relevo_1:3001"),
        (rules.public_url, "http://api.example.com", "http://api.example.com"),
        (rules.public_url, "", ""),
        (rules.api_base, "https://api.elevenlabs.io/v1", "https://api.elevenlabs.io"),
        (rules.api_base, "https://api.elevenlabs.io/v1/", "https://api.elevenlabs.io"),
        (rules.api_base, "https://proxy.co/eleven", "https://proxy.co/eleven"),
        (rules.web_origin, "http://localhost:9001/", "http://localhost:9001"),
        (rules.store_url, " postgres://u:p@h/db ", "postgres://u:p@h/db"),
        (rules.store_url, "postgresql://%2Frun%2Fpostgresql/db", "postgresql://%2Frun%2Fpostgresql/db"),
        (
            rules.store_url,
            "postgresql://a:1,b/db?sslmode=require&connect_timeout=5",
            "postgresql://a:1,b/db?sslmode=require&connect_timeout=5",
        ),
        (rules.store_url, "", ""),
        (rules.phone_number, "+57 (300) 123-4567", "+573001234567"),
        (rules.phone_number, "", ""),
        (rules.whatsapp_number, "whatsapp:+573001234567", "+573001234567"),
        (rules.time_zone, "America/Mexico_City", "America/Mexico_City"),
    ],
)
def test_a_value_is_brought_into_its_normal_form(rule: Callable[[str], str], text: str, normal: str) -> None:
    assert rule(text) == normal
    assert rule(normal) == normal


@pytest.mark.parametrize(
    ("rule", "text", "part"),
    [
        (rules.public_url, "http://api.empresa.com", "expected https"),
        (rules.public_url, "ftp://a.co", "does not start with https://"),
        (rules.public_url, "a.co", "does not start with https://"),
        (rules.public_url, "https://", "without a host"),
        (rules.public_url, "https://u:p@a.co", "user name or password"),
        (rules.public_url, "https://a.co/?x=1", "a query"),
        (rules.public_url, "https://a.co/#x", "a fragment"),
        (rules.public_url, "https://a b.co", "a space"),
        (rules.public_url, "https://a.co:http", "malformed host or port"),
        (rules.public_url, "https://[::1", "malformed host or port"),
        (rules.public_url, "https://señal.co", "no host name has"),
        (rules.web_origin, "https://a.co/path", "the path"),
        (rules.media_url, "https://a.co/m.mp3?a=b c", "a space"),
        (rules.store_url, "postgresql+asyncpg://u:p@h/db", "postgresql+asyncpg://"),
        (rules.store_url, "host=db password=s3cret", "something else"),
        (rules.store_url, "postgresql://u:s3cret@h/db?pool=9", 'the unknown option "pool"'),
        (rules.store_url, "postgresql://u:a/b?s3cret=1@h/db", "that is malformed"),
        (rules.store_url, "postgresql://u:s3cret%zz@h/db", "that is malformed"),
        (rules.store_url, "postgresql://u:s3cret@[::1/db", "that is malformed"),
        (rules.store_url, "postgresql://u:s3cret@h:s3cret/db", "its port is not a port number"),
        (rules.store_url, "postgresql://u:s3cret@h:65536/db", "its port"),
        (rules.store_url, "postgresql://u:s3cret@h/db?sslmode=s3cret", "its sslmode is not one of"),
        (rules.store_url, "postgresql://h/db?connect_timeout=soon", "its connect_timeout"),
        (rules.phone_number, "573001234567", "without the plus sign"),
        (rules.phone_number, "+57300", "something else of 6 characters"),
        (rules.phone_number, "+5730012345678901", "something else"),
        (rules.time_zone, "Mars/Base", "no time zone"),
        (rules.time_zone, "../etc/passwd", "no time zone"),
        (rules.time_zone, "", "no time zone"),
        (rules.plain_text, "Hola {{ name }}", "takes no variables"),
        (rules.plain_text, " \n", "must not be empty"),
        (rules.counting_text, "[… más …]", "does not say how many"),
        (rules.counting_text, "{count} " * 20, "at most 60"),
        (rules.CallText(), "Hola\n{{ nombre }}", "line 2: there is no variable 'nombre'"),
        (rules.CallText(), "", "must not be empty"),
        (rules.CallText(is_optional=True), "{{ name }", "line 1"),
    ],
)
def test_an_unfit_value_is_refused_with_a_reason(rule: Callable[[str], str], text: str, part: str) -> None:
    with pytest.raises(UnfitError) as caught:
        rule(text)
    assert part in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_optional_text_of_spaces_is_no_text() -> None:
    assert rules.CallText(is_optional=True)(" \n ") == ""


def test_template_variables_name_the_one_that_is_wrong() -> None:
    with pytest.raises(UnfitError, match=r'variable "2": fails for a call that left no name'):
        rules.template_variables({"1": "{{ name or 'cliente' }}", "2": "{{ summary }}"})
    with pytest.raises(UnfitError, match=r'"a b" cannot be the name'):
        rules.template_variables({"a b": "x"})


@given(st.text())
def test_url_rules_take_any_text(text: str) -> None:
    for rule in (rules.public_url, rules.api_base, rules.web_origin, rules.media_url, rules.store_url):
        try:
            normal = rule(f"https://{text}")
        except UnfitError:
            continue
        assert rule(normal) == normal


@given(st.text(alphabet="+0123456789 ()-.w"))
def test_a_number_that_passes_is_e164(text: str) -> None:
    try:
        number = rules.phone_number(text)
    except UnfitError:
        return
    assert number == "" or (number[0] == "+" and number[1:].isdigit() and 8 <= len(number) <= 16)
