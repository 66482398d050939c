"""`actors.conversation.identity`: who is behind a number or an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.conversation.identity import (
    canonical_number,
    identities_of,
    is_valid,
    whatsapp_address_candidates,
)

ANY_TEXT = st.text(max_size=60) | st.text(alphabet="+0123456789 ().-/xwhatsp:", max_size=60)
REGIONS = st.sampled_from([None, "MX", "AR", "BR", "US", "XX", ""])


class TestCanonicalNumber:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("+525512345678", "+525512345678"),
            ("+5215512345678", "+525512345678"),
            ("whatsapp:+5215512345678", "+525512345678"),
            ("tel:+52 (55) 1234-5678", "+525512345678"),
            ("\u202a+52\u00a055\u20111234\u20115678\u202c", "+525512345678"),
            ("+5493511234567", "+543511234567"),
            ("+543511234567", "+543511234567"),
            ("+54 9 11 2345-6789", "+541123456789"),
            ("+54 11 15 2345-6789", "+541123456789"),
            ("+5511912345678", "+5511912345678"),
            ("+551191234567", "+5511991234567"),
            ("+553181234567", "+5531981234567"),
            ("+551132345678", "+551132345678"),
            ("+14155238886", "+14155238886"),
            ("+34 612 34 56 78", "+34612345678"),
            ("+521234567890", "+521234567890"),
        ],
    )
    def test_there_is_one_form_of_each_number(self, text: str, canonical: str) -> None:
        assert canonical_number(text) == canonical

    @pytest.mark.parametrize(
        ("text", "region", "canonical"),
        [
            ("55 1234 5678", "MX", "+525512345678"),
            ("011 15-2345-6789", "AR", "+541123456789"),
            ("(11) 91234-5678", "BR", "+5511912345678"),
            ("00 52 55 1234 5678", "MX", "+525512345678"),
            ("+34612345678", "MX", "+34612345678"),
        ],
    )
    def test_a_national_number_needs_its_region(self, text: str, region: str, canonical: str) -> None:
        assert canonical_number(text, region) == canonical
        if not text.startswith("+"):
            assert canonical_number(text) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "+",
            "Anonymous",
            "unknown",
            "Restricted",
            "+266696687",
            "266696687",
            "+7378742833",
            "+17378742833",
            "+86282452253",
            "+8656696",
            "+2562533",
            "0000000000",
            "+10000000000",
            "+999123456789",
            "+5255",
            "+52551234567890123",
            "MX.5512345678",
            "llama al 5512345678",
            "sip:+525512345678@example.com",
            "1-800-FLOWERS",
        ],
    )
    def test_withheld_callers_and_nonsense_are_no_number(self, text: str) -> None:
        assert canonical_number(text) is None
        assert canonical_number(text, "MX") is None

    @given(text=ANY_TEXT, region=REGIONS)
    def test_it_is_idempotent_and_never_raises(self, text: str, region: str | None) -> None:
        canonical = canonical_number(text, region)
        if canonical is not None:
            assert canonical_number(canonical) == canonical
            assert canonical_number(canonical, region) == canonical

    @given(
        number=st.from_regex(r"\+52[1-9][0-9]{9}", fullmatch=True)
        | st.from_regex(r"\+54[1-9][0-9]{9}", fullmatch=True)
        | st.from_regex(r"\+55[1-9]{2}9?[0-9]{8}", fullmatch=True)
        | st.from_regex(r"\+(1[2-9]|34|57|56|51)[0-9]{9}", fullmatch=True)
    )
    def test_all_spellings_are_one_person(self, number: str) -> None:
        canonical = canonical_number(number)
        candidates = whatsapp_address_candidates(number)
        if canonical is not None:
            assert {canonical_number(spelling) for spelling in candidates} == {canonical}
            assert canonical in candidates


class TestIsValid:
    @pytest.mark.parametrize(
        "text", ["+525512345678", "+5215512345678", "+5491123456789", "+541123456789", "+551191234567"]
    )
    def test_every_spelling_of_a_number_in_use(self, text: str) -> None:
        assert is_valid(text)

    @pytest.mark.parametrize("text", ["", "+521234567890", "+266696687", "hola", "5512345678"])
    def test_anything_else(self, text: str) -> None:
        assert not is_valid(text)

    def test_a_national_number_of_its_region(self) -> None:
        assert is_valid("55 1234 5678", "MX")


class TestIdentities:
    @pytest.mark.parametrize(
        ("address", "user_id", "identities"),
        [
            ("+5215512345678", None, ("+525512345678",)),
            ("whatsapp:+5215512345678", "whatsapp:MX.1A2B", ("MX.1A2B", "+525512345678")),
            ("whatsapp:MX.1A2B", "whatsapp:MX.1A2B", ("MX.1A2B",)),
            ("MX.1A2B", None, ("MX.1A2B",)),
            ("mx.1A2B", "", ("MX.1A2B",)),
            ("+999123456789", None, ("+999123456789",)),
            ("+266696687", None, ()),
            ("Anonymous", "nonsense", ()),
        ],
    )
    def test_the_surest_comes_first(
        self, address: str, user_id: str | None, identities: tuple[str, ...]
    ) -> None:
        assert identities_of(address, user_id) == identities

    @given(address=ANY_TEXT, user_id=st.none() | ANY_TEXT)
    def test_any_text_has_identities_or_none(self, address: str, user_id: str | None) -> None:
        identities = identities_of(address, user_id)
        assert len(set(identities)) == len(identities) <= 3


class TestCandidates:
    @pytest.mark.parametrize(
        ("number", "candidates"),
        [
            ("+525512345678", ("+525512345678", "+5215512345678")),
            ("+5215512345678", ("+5215512345678", "+525512345678")),
            ("+541123456789", ("+541123456789", "+5491123456789")),
            ("+5491123456789", ("+5491123456789", "+541123456789")),
            ("+5511981234567", ("+5511981234567", "+551181234567")),
            ("+551181234567", ("+551181234567", "+5511981234567")),
            ("+5511951234567", ("+5511951234567",)),
            ("+551132345678", ("+551132345678",)),
            ("+34 612 34 56 78", ("+34612345678",)),
            ("MX.1A2B", ()),
            ("anonymous", ()),
        ],
    )
    def test_the_number_as_it_is_comes_first(self, number: str, candidates: tuple[str, ...]) -> None:
        assert whatsapp_address_candidates(number) == candidates

    @given(text=ANY_TEXT)
    def test_any_text_has_candidates_or_none(self, text: str) -> None:
        assert len(whatsapp_address_candidates(text)) <= 3
