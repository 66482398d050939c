"""The audit: the store against the lab's books. Pure.

Nothing lost, nothing doubled, the order kept, statuses only forward, no work left. Texts are compared and never
shown: a finding names a number's end, ids and statuses.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

from attrs import field, frozen

from tests.chaos.books import Carried, PersonBook, Written, tokens_in
from tests.chaos.ledger import CallRow, Ledger, Row, Step


class Kind(StrEnum):
    LOST = "lost"
    DOUBLED = "doubled"
    DISORDERED = "out of order"
    REGRESSED = "status regressed"
    UNSETTLED = "unsettled"
    WRONG = "wrong"
    """Anything else that must not be: a forged message taken in, a text that changed on its way, …"""


@frozen
class Finding:
    kind: Kind
    sentence: str


@frozen(kw_only=True)
class Expectation:
    """What a fault makes right that would be wrong without it.

    Attributes:
        refusals: messages may end refused, failed or undelivered, for good.
        wordless: the agent may answer with no words.
        reason: why nothing better can be expected.
    """

    refusals: bool = False
    wordless: bool = False
    reason: str = ""


NOTHING_EXPECTED = Expectation()


@frozen(kw_only=True)
class Verdict:
    """Attributes:
    written: messages by customers; `arrived`: messages on their telephones.
    expected: questions and openings that are unanswered as the fault has it.
    """

    findings: Sequence[Finding] = ()
    written: int = 0
    arrived: int = 0
    expected: int = 0

    @property
    def counts(self) -> Mapping[Kind, int]:
        return Counter(finding.kind for finding in self.findings)


REFUSED_STATUSES = frozenset({"refused", "failed", "undelivered"})
SENT_STATUSES = frozenset({"accepted", "sent", "delivered", "read", "failed", "undelivered"})
# Of all that may fall: a message that surely did not go is put back.
_PUT_BACK = ("sending", "pending")


def audit(books: Sequence[PersonBook], ledger: Ledger, expected: Expectation = NOTHING_EXPECTED) -> Verdict:
    """Compare what is known of some customers."""
    people = [_Person(book, ledger, expected) for book in books]
    findings = [finding for person in people for finding in person.findings()]
    findings += _regressions(ledger.steps)
    return Verdict(
        findings=findings,
        written=sum(len(person.book.written) for person in people),
        arrived=sum(carried.has_arrived for person in people for carried in person.book.carried),
        expected=sum(person.excused() for person in people),
    )


def _regressions(steps: Sequence[Step]) -> Iterator[Finding]:
    for step in steps:
        if step.was is None or step.was_rank is None or (step.was, step.became) == _PUT_BACK:
            continue
        if step.became_rank < step.was_rank or step.was == "answered":
            yield Finding(Kind.REGRESSED, f"message {step.message_id}: {step.was} -> {step.became}")


@frozen
class _Person:
    book: PersonBook
    ledger: Ledger
    expected: Expectation
    rows: Sequence[Row] = field(init=False)
    by_sid: Mapping[str, Row] = field(init=False)
    carried: Mapping[str, Carried] = field(init=False)

    def __attrs_post_init__(self) -> None:
        rows = [row for row in self.ledger.rows if row.phone == self.book.phone]
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "by_sid", {row.sid: row for row in rows if row.sid is not None})
        object.__setattr__(self, "carried", {carried.sid: carried for carried in self.book.carried})

    def findings(self) -> Iterator[Finding]:
        yield from self._intake()
        yield from self._answers()
        yield from self._openings()
        yield from self._outbound_rows()
        yield from self._carried()
        yield from self._order()

    def excused(self) -> int:
        """Questions and openings without an arrival that the fault explains."""
        questions = sum(
            not self._arrivals_of(token) and self._is_excused(token)
            for written in self.book.written
            for token in tokens_in(written.body)
        )
        openings = sum(
            not any(self._arrived(row) for row in self._openings_of(call)) and self.expected.refusals
            for call in self.book.calls
        )
        return questions + openings

    # --- in ---

    def _intake(self) -> Iterator[Finding]:
        for written in self.book.written:
            row = self.by_sid.get(written.sid)
            if row is None:
                yield self._finding(Kind.LOST, f"{written.sid} is not in the store")
            elif row.status == "received":
                yield self._finding(Kind.UNSETTLED, f"message {row.id} is unanswered")
            elif row.status != "answered":
                yield self._finding(Kind.LOST, f"message {row.id} is {row.status}")
            yield from self._forgeries(written)
        known = {written.sid for written in self.book.written}
        for row in self.rows:
            if row.is_inbound and row.sid not in known:
                yield self._finding(Kind.WRONG, f"message {row.id} was never written")

    def _forgeries(self, written: Written) -> Iterator[Finding]:
        for attempt in written.attempts:
            if attempt.is_forged and attempt.status not in {403, 503, None}:
                yield self._finding(Kind.WRONG, f"a forged webhook was answered {attempt.status}")

    # --- out ---

    def _answers(self) -> Iterator[Finding]:
        for written in self.book.written:
            for token in tokens_in(written.body):
                arrivals = len(self._arrivals_of(token))
                if arrivals > 1:
                    yield self._finding(Kind.DOUBLED, f"{token} was answered {arrivals} times")
                elif not arrivals and not self._is_excused(token):
                    yield self._finding(Kind.LOST, f"no answer to {token} has arrived")

    def _arrivals_of(self, token: str) -> list[Carried]:
        """Messages on the telephone that answer this; a template stands for the text of its row."""
        return [
            carried
            for carried in self.book.carried
            if carried.has_arrived and (row := self.by_sid.get(carried.sid)) and token in tokens_in(row.text)
        ]

    def _is_excused(self, token: str) -> bool:
        replies = [row for row in self.rows if not row.is_inbound and token in tokens_in(row.text)]
        if replies:
            return self.expected.refusals and any(row.status in REFUSED_STATUSES for row in replies)
        asked = [row for row in self.rows if row.is_inbound and token in tokens_in(row.text)]
        return self.expected.wordless and all(row.status == "answered" for row in asked) and bool(asked)

    def _openings_of(self, call_id: str) -> list[Row]:
        """The opening of a call and what was sent in its place."""
        family = [row for row in self.rows if row.call_id == call_id]
        ids = {row.id for row in family}
        return [*family, *(row for row in self.rows if row.replaces_id in ids and row.id not in ids)]

    def _openings(self) -> Iterator[Finding]:
        known = {call.id: call for call in self.ledger.calls if call.phone == self.book.phone}
        for call_id in self.book.calls:
            rows = self._openings_of(call_id)
            first = sum(row.replaces_id is None for row in rows)
            arrivals = sum(self._arrived(row) for row in rows)
            if first > 1 or arrivals > 1:
                yield self._finding(Kind.DOUBLED, f"{call_id} has {first} openings, {arrivals} arrived")
            elif not arrivals and not (self.expected.refusals and first):
                yield self._finding(Kind.LOST, f"no opening of {call_id} has arrived")
            yield from self._follow_up(call_id, known.get(call_id))

    def _follow_up(self, call_id: str, call: CallRow | None) -> Iterator[Finding]:
        if call is None:
            yield self._finding(Kind.LOST, f"{call_id} is not in the store")
        elif call.follow_up in {"awaiting_details", "due", "queued"}:
            yield self._finding(Kind.UNSETTLED, f"{call_id} is {call.follow_up}")
        elif call.follow_up != "handled" and not (self.expected.refusals and call.follow_up == "refused"):
            yield self._finding(Kind.LOST, f"{call_id} is {call.follow_up}: {call.note}")

    def _outbound_rows(self) -> Iterator[Finding]:
        replaced = {row.replaces_id for row in self.rows}
        for row in self.rows:
            if row.is_inbound:
                continue
            if row.status in {"pending", "sending"}:
                yield self._finding(Kind.UNSETTLED, f"message {row.id} is {row.status}")
            elif row.status in REFUSED_STATUSES and row.id not in replaced and not self.expected.refusals:
                yield self._finding(Kind.LOST, f"message {row.id} ({row.purpose}) is {row.status}")
            if row.status in SENT_STATUSES:
                yield from self._claim(row)

    def _claim(self, row: Row) -> Iterator[Finding]:
        """What the store says of a message that is at Twilio."""
        carried = self.carried.get(row.sid or "")
        if carried is None:
            yield self._finding(Kind.LOST, f"message {row.id} is {row.status}, and Twilio has no {row.sid}")
            return
        if row.status != "accepted" and row.status not in carried.statuses:
            history = "/".join(carried.statuses)
            yield self._finding(Kind.WRONG, f"message {row.id} is {row.status}, at Twilio it was {history}")
        if carried.row_id not in {None, row.id}:
            yield self._finding(Kind.WRONG, f"message {row.id} has the SID of message {carried.row_id}")
        if not carried.is_template and carried.body.strip() != row.text.strip():
            yield self._finding(Kind.WRONG, f"the text of message {row.id} has changed on its way")

    def _carried(self) -> Iterator[Finding]:
        for carried in self.book.carried:
            # One that failed reached nobody, and its row went on to another attempt.
            if carried.sid not in self.by_sid and not carried.has_failed:
                yield self._finding(
                    Kind.DOUBLED, f"{carried.sid} at Twilio belongs to no row (sent for {carried.row_id})"
                )

    # --- order ---

    def _order(self) -> Iterator[Finding]:
        arrived = sorted(
            (carried for carried in self.book.carried if carried.arrived_at is not None),
            key=lambda carried: carried.arrived_at or 0,
        )
        rows = [row for carried in arrived if (row := self.by_sid.get(carried.sid)) is not None]
        # What repeats a failed message, or asks for a new window, comes when it is needed and not by its number.
        in_lane = [row for row in rows if row.replaces_id is None and row.purpose != "reopening"]
        for earlier, later in pairwise(in_lane):
            if earlier.id > later.id:
                yield self._finding(Kind.DISORDERED, f"message {later.id} arrived after {earlier.id}")
        yield from self._order_of_answers(in_lane)
        yield from self._order_of_intake()

    def _order_of_answers(self, arrived: Sequence[Row]) -> Iterator[Finding]:
        """Answers come in the order in which the questions were stored."""
        asked = {token: row.id for row in self.rows if row.is_inbound for token in tokens_in(row.text)}
        answered = [
            token for row in arrived if not row.is_inbound for token in tokens_in(row.text) if token in asked
        ]
        for earlier, later in pairwise(answered):
            if asked[earlier] > asked[later]:
                yield self._finding(Kind.DISORDERED, f"{later} was answered after {earlier}")

    def _order_of_intake(self) -> Iterator[Finding]:
        """Whatever was acknowledged before the next one came is stored before it."""
        for earlier, later in pairwise(self.book.written):
            first, second = self.by_sid.get(earlier.sid), self.by_sid.get(later.sid)
            if first is None or second is None or not later.attempts:
                continue
            taken = [attempt.ended_at for attempt in earlier.attempts if attempt.is_taken]
            came_at = min(attempt.began_at for attempt in later.attempts)
            if taken and min(taken) < came_at and first.id > second.id:
                yield self._finding(Kind.DISORDERED, f"message {first.id} was stored after {second.id}")

    def _arrived(self, row: Row) -> bool:
        carried = self.carried.get(row.sid or "")
        return carried is not None and carried.has_arrived

    def _finding(self, kind: Kind, sentence: str) -> Finding:
        return Finding(kind, f"…{self.book.phone[-7:]}: {sentence}")
