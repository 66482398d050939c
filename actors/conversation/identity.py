"""Who is this? Numbers and their variants, WhatsApp addresses, withheld callers. Pure.

One person has several spellings of one number, because WhatsApp kept prefixes that the phone networks dropped or
added. One of them is canonical, always the one that can be computed from the others:

    Mexico      +521 and ten digits -> +52 and ten digits, the form of voice calls
    Argentina   +549 and ten digits -> +54 and ten digits: without the 9 one cannot tell a mobile
    Brazil      a mobile of eight digits (first digit 6 to 9) -> with the ninth digit, a 9, in front

A canonical number is a name, not an address: who wrote gets the answer at exactly the address of origin.
"""

import re
import unicodedata
from typing import Final

import phonenumbers

_CHANNEL: Final = "whatsapp:"

# A business-scoped user id of WhatsApp (Twilio changelog: WhatsApp usernames and BSUID).
_USER_ID: Final = re.compile(r"([A-Za-z]{2})\.([A-Za-z0-9]{1,137})")
_NUMBER: Final = re.compile(r"\+?[0-9 ().\-/]{3,40}")
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")

_WITHHELD_WORDS: Final = (
    "anonymous",
    "blocked",
    "private",
    "restricted",
    "unavailable",
    "unknown",
    "withheld",
)
_KEYPAD: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
# Carriers put the word, as it is typed on a phone's keypad, where the caller's number belongs; in North America
# with a 1 in front.
_WITHHELD_NUMBERS: Final = frozenset(
    prefix + word.translate(_KEYPAD) for word in _WITHHELD_WORDS for prefix in ("+", "+1")
)

_MEXICO_OLD: Final = re.compile(r"\+521([0-9]{10})")
_MEXICO: Final = re.compile(r"\+52([0-9]{10})")
_ARGENTINA_MOBILE: Final = re.compile(r"\+549([0-9]{10})")
_ARGENTINA: Final = re.compile(r"\+54([0-9]{10})")
_BRAZIL_OLD: Final = re.compile(r"\+55([1-9]{2})([6-9][0-9]{7})")
_BRAZIL: Final = re.compile(r"\+55([1-9]{2})9([6-9][0-9]{7})")


def canonical_number(text: str, default_region: str | None = None) -> str | None:
    """The canonical E.164 form of a phone number, None when it is none or the caller withheld it.

    Takes the usual ways of writing, with or without `whatsapp:` or `tel:`. Without a country code it is read as
    a number of `default_region` (ISO 3166, two letters); without a region such a number is none. Its length
    is checked, and not whether it was given to anybody.
    """
    number = _e164(text, default_region)
    if number is None:
        return None
    canonical = _folded(number)
    return canonical if phonenumbers.is_possible_number(phonenumbers.parse(canonical)) else None


def identities_of(whatsapp_address: str, external_user_id: str | None = None) -> tuple[str, ...]:
    """Canonical names of the person behind a WhatsApp address, surest first; empty when there is none.

    First the business-scoped user id, which is WhatsApp's own word for this person and this business: a number
    goes to somebody else one day, and then comes with another id. Then the number, which is all that a phone
    call knows.

    Args:
        whatsapp_address: with or without `whatsapp:`; a number in E.164 or a business-scoped user id.
        external_user_id: Twilio's `ExternalUserId`.
    """
    names = (
        _user_id(external_user_id or ""),
        _user_id(whatsapp_address),
        canonical_number(whatsapp_address) or _unlisted_number(whatsapp_address),
    )
    return tuple(dict.fromkeys(name for name in names if name is not None))


def whatsapp_address_candidates(number: str) -> tuple[str, ...]:
    """Addresses under which WhatsApp may know the owner of a number, in the order in which to try them.

    First the number of the call as it is, in E.164. Then the other spellings of the three countries above, for
    when Twilio does not find the first on the channel (error 63003). Empty when it is no number.
    """
    given = _e164(number, None)
    if given is None:
        return ()
    canonical = _folded(given)
    return tuple(dict.fromkeys((given, canonical, *_other_spellings(canonical))))


def _e164(text: str, default_region: str | None) -> str | None:
    """E.164 as it was written, not yet canonical."""
    bare = _bare(text)
    if not _NUMBER.fullmatch(bare):
        return None
    try:
        parsed = phonenumbers.parse(bare, default_region)
    except phonenumbers.NumberParseException:
        return None
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    as_typed = "+" + "".join(filter(str.isdigit, bare))
    if _is_withheld(number) or _is_withheld(as_typed):
        return None
    return number if _E164.fullmatch(number) else None


def _is_withheld(number: str) -> bool:
    """Whether a word is spelled in it, or nothing but zeros stands where the subscriber's number belongs."""
    return number in _WITHHELD_NUMBERS or number.endswith("0000000")


def _unlisted_number(address: str) -> str | None:
    """A number that WhatsApp knows and our copy of the numbering plans does not."""
    bare = _bare(address)
    return bare if _E164.fullmatch(bare) and not _is_withheld(bare) else None


def _user_id(text: str) -> str | None:
    match = _USER_ID.fullmatch(_bare(text))
    return f"{match[1].upper()}.{match[2]}" if match else None


def _bare(text: str) -> str:
    """Without a channel, invisible characters, and the many kinds of hyphens, spaces and digits."""
    plain = unicodedata.normalize("NFKC", text).strip()
    plain = plain.removeprefix(_CHANNEL).removeprefix("tel:")
    return "".join(map(_plain, plain)).strip()


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return " " if character.isspace() else character


def _folded(number: str) -> str:
    if match := _MEXICO_OLD.fullmatch(number):
        return f"+52{match[1]}"
    if match := _ARGENTINA_MOBILE.fullmatch(number):
        return f"+54{match[1]}"
    if match := _BRAZIL_OLD.fullmatch(number):
        return f"+55{match[1]}9{match[2]}"
    return number


def _other_spellings(canonical: str) -> tuple[str, ...]:
    """Spellings that fold to this canonical number."""
    if match := _MEXICO.fullmatch(canonical):
        return (f"+521{match[1]}",)
    if match := _ARGENTINA.fullmatch(canonical):
        return (f"+549{match[1]}",)
    if match := _BRAZIL.fullmatch(canonical):
        return (f"+55{match[1]}{match[2]}",)
    return ()
