"""`actors.conversation.identity`: who is behind a number or an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.conversation.identity import (
    canonical_number,
    identities_of,
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


# --- Any number -----------------------------------------------------------------------------------------

DIGITS = "0123456789"


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Numbers as phone networks know them, most of them of the three countries with several spellings."""
    country = draw(st.sampled_from(["52", "54", "55", "55", "57", "34", "1"]))
    area = draw(st.sampled_from(["11", "55", "33", "21", "81", "99"]))
    return f"+{country}{area}{draw(st.sampled_from(['', '9', '1', '6']))}{draw(st.text(DIGITS, min_size=8, max_size=8))}"


def person_of(number: str) -> str:
    """Whose number it is, by the rules as people tell them."""
    country, national = number[1:3], number[3:]
    if country == "52" and len(national) == 11:
        return "MX" + national.removeprefix("1")
    if country == "54" and len(national) == 11:
        # A 0 is what is dialled first within the country.
        return "AR" + (national[1:] if national[0] in "09" else national)
    if country == "55" and len(national) == 11 and national[2] == "9" and national[3] in "6789":
        return "BR" + national[:2] + national[3:]
    return {"52": "MX", "54": "AR", "55": "BR"}.get(country, country) + national


def spellings_of(number: str) -> set[str]:
    country, national = number[1:3], number[3:]
    spellings = {number}
    if country == "52" and len(national) == 10:
        spellings.add(f"+521{national}")
    if country == "54" and len(national) == 10:
        spellings.add(f"+549{national}")
    if country == "55" and len(national) == 10 and national[2] in "6789":
        spellings.add(f"+55{national[:2]}9{national[2:]}")
    return spellings


@st.composite
def written(draw: st.DrawFn, number: str) -> str:
    """A number as somebody may write it."""
    separators = st.sampled_from(["", "", "", " ", "-", "\u00a0", "\u2011", "\u200b", "."])
    digits = draw(st.sampled_from([number[1:], number[1:].translate(str.maketrans(DIGITS, "٠١٢٣٤٥٦٧٨٩"))]))
    spaced = "".join(digit + draw(separators) for digit in digits)
    return draw(st.sampled_from(["", "whatsapp:", "tel:", " \u202a"])) + "+" + spaced


class TestAnyNumber:
    @given(number=numbers(), choices=st.data())
    def test_every_spelling_however_written_is_the_same_person(
        self, number: str, choices: st.DataObject
    ) -> None:
        identities = identities_of(number)
        for spelling in sorted(spellings_of(number)):
            text = choices.draw(written(spelling))
            assert canonical_number(text) == canonical_number(number)
            if canonical_number(number) is not None:
                assert identities_of(text) == identities

    @given(number=numbers(), place=st.integers(1, 14), digit=st.sampled_from(DIGITS))
    def test_no_two_people_share_a_name(self, number: str, place: int, digit: str) -> None:
        other = number[:place] + digit + number[place + 1 :]
        names = canonical_number(number), canonical_number(other)
        if None not in names:
            assert (names[0] == names[1]) == (person_of(number) == person_of(other))

    @given(text=numbers() | numbers().flatmap(written) | ANY_TEXT)
    def test_an_address_to_try_belongs_to_the_same_person(self, text: str) -> None:
        candidates = whatsapp_address_candidates(text)
        canonical = canonical_number(text)
        if canonical is not None:
            assert canonical in candidates
            assert {identities_of(candidate) for candidate in candidates} == {(canonical,)}
        assert all(whatsapp_address_candidates(candidate)[0] == candidate for candidate in candidates)
        assert all(set(whatsapp_address_candidates(it)) == set(candidates) for it in candidates)

    @given(address=ANY_TEXT | numbers(), user_id=st.none() | ANY_TEXT | st.just("whatsapp:MX.1A2B"))
    def test_names_are_the_same_when_named_again(self, address: str, user_id: str | None) -> None:
        for name in identities_of(address, user_id):
            assert identities_of(name) == (name,)


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
