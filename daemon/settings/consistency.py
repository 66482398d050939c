"""Settings that are right one by one and wrong together."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from operator import attrgetter

from actors.conversation.identity import canonical_number
from daemon.settings.model import Settings
from daemon.settings.problems import Flaw, show


def find_conflicts(settings: Settings, sound: Collection[str]) -> Iterator[Flaw]:
    """Conflicts within and between tables; those whose tables are not all in `sound` are left out."""
    for tables, check in _CHECKS:
        if all(table in sound for table in tables):
            yield from check(settings)


def _two_listeners(settings: Settings) -> Iterator[Flaw]:
    http, admin = settings.http, settings.admin
    if http.port != 0 and (http.host, http.port) == (admin.host, admin.port):
        yield Flaw(
            key="admin.port",
            sentence=f"is {admin.port}, and so is http.port on the same address",
            mend="give the two listeners different ports",
        )


def _advisor_names(settings: Settings) -> Iterator[Flaw]:
    names: dict[str, int] = {}
    for index, advisor in enumerate(settings.transfer.advisors):
        first = names.setdefault(advisor.name.casefold(), index)
        if first != index:
            yield Flaw(
                key=f"transfer.advisors[{index}].name",
                sentence=f"{show(advisor.name)} is the name of transfer.advisors[{first}] already",
                mend="give each advisor a name of their own: a caller asks for them by it",
            )


def _advisor_phones(settings: Settings) -> Iterator[Flaw]:
    phones: dict[str, int] = {}
    for index, advisor in enumerate(settings.transfer.advisors):
        first = phones.setdefault(_one_name(advisor.phone), index)
        if first != index:
            yield Flaw(
                key=f"transfer.advisors[{index}].phone",
                sentence=f"is the phone of transfer.advisors[{first}] already",
                mend="give each advisor a phone of their own: who does not answer is not called a second time under "
                "another name",
            )


def _advisors_are_not_the_line(settings: Settings) -> Iterator[Flaw]:
    line = _one_name(settings.twilio.voice_number)
    for index, advisor in enumerate(settings.transfer.advisors):
        if line and _one_name(advisor.phone) == line:
            yield Flaw(
                key=f"transfer.advisors[{index}].phone",
                sentence="is twilio.voice_number, the line that callers call: it would call itself",
                mend="name the telephone at which the advisor answers",
            )


def _one_name(number: str) -> str:
    """The same for every way of writing a number."""
    return canonical_number(number) or number


# Of each pair the first must not be less than the second; both stand in one table.
_IN_ORDER: tuple[tuple[str, str], ...] = (
    ("conversation.coalesce_max_s", "conversation.coalesce_s"),
    ("conversation.retry_max_s", "conversation.retry_first_s"),
    ("conversation.unanswered_retry_max_s", "conversation.unanswered_retry_first_s"),
    ("elevenlabs.refused_retry_max_s", "elevenlabs.refused_retry_first_s"),
    ("outbox.retry_max_s", "outbox.retry_first_s"),
    ("outbox.certain_after_s", "outbox.settle_unknown_after_s"),
    ("outbox.breaker_openings", "outbox.breaker_openings_min"),
)


def _in_order(upper_key: str, lower_key: str, settings: Settings) -> Iterator[Flaw]:
    upper, lower = (attrgetter(key)(settings) for key in (upper_key, lower_key))
    if upper < lower:
        yield Flaw(
            key=upper_key,
            sentence=f"is {upper:g}, which is less than {lower_key} ({lower:g})",
            mend=f"raise {upper_key} or lower {lower_key}",
        )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Settings], Iterator[Flaw]]], ...] = (
    (("http", "admin"), _two_listeners),
    *(((upper.partition(".")[0],), partial(_in_order, upper, lower)) for upper, lower in _IN_ORDER),
    (("transfer",), _advisor_names),
    (("transfer",), _advisor_phones),
    (("transfer", "twilio"), _advisors_are_not_the_line),
)
