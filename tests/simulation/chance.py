"""What goes wrong in a world, and how often: all of it drawn from one seed.

Swarm testing: a world with every fault in it looks like every other one, and never gets far. So each seed
switches on some faults of its own, each at a rate of its own.
"""

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import TypeVar

from attrs import define, field

T = TypeVar("T")

ON = 0.5
"""The probability of each fault to be switched on in a world."""

# Rates by occasion, of which there are hundreds in a world, or dozens, or a few.
OFTEN = (0.004, 0.01, 0.03)
NOW_AND_THEN = (0.03, 0.1, 0.3)
SELDOM = (0.15, 0.4, 0.8)


class Fault(Enum):
    """A fault: its name in reports, how often it strikes at most in one world, and its possible rates.

    A rate counts by occasion: a call of a port, a message, a session, whatever the fault befalls.
    """

    # The daemon.
    KILLED = ("daemon killed at a port call", 4, OFTEN)
    DRAINED = ("daemon stopped politely and started again", 1, SELDOM)
    CRASH = ("actor crashes at a port call", 5, OFTEN)
    CLOCK_JUMP = ("wall clock jumps", 6, SELDOM)
    # The database.
    STORE_FAILS = ("statement fails before its commit", 20, OFTEN)
    COMMIT_UNSEEN = ("statement fails after its commit", 10, OFTEN)
    STORE_DOWN = ("database down for a while", 3, SELDOM)
    STORE_SLOW = ("statement takes long", 60, NOW_AND_THEN)
    # Sending.
    CUT_OFF = ("Twilio and we cannot reach each other for a while", 3, SELDOM)
    SEND_REFUSED = ("Twilio refuses a message", 2, SELDOM)
    SEND_THROTTLED = ("Twilio throttles", 4, SELDOM)
    SEND_UNREACHABLE = ("Twilio not reached", 4, SELDOM)
    LOCKED_OUT = ("Twilio refuses our credentials", 3, SELDOM)
    REQUEST_LOST = ("request to Twilio lost", 4, SELDOM)
    ANSWER_LOST = ("Twilio's answer lost", 10, SELDOM)
    SEND_SLOW = ("send takes long", 20, SELDOM)
    LIST_LAGS = ("Twilio's list lags", 40, SELDOM)
    LIST_SLOW = ("Twilio's list takes long to arrive", 20, SELDOM)
    LIST_FAILS = ("Twilio's list cannot be read", 10, SELDOM)
    FAILS_LATER = ("message fails after acceptance", 3, SELDOM)
    UNTOLD = ("no status callback at all for a message", 10, SELDOM)
    STATUS_LOST = ("status callback lost", 40, SELDOM)
    STATUS_REPEATED = ("status callback repeated", 40, SELDOM)
    STATUS_LATE = ("status callback late", 40, SELDOM)
    # People who write.
    WEBHOOK_LOST = ("message's webhook lost", 6, SELDOM)
    WEBHOOK_REPEATED = ("message's webhook repeated", 20, SELDOM)
    WEBHOOK_LATE = ("message's webhook late", 20, SELDOM)
    # The agent.
    START_FAILS = ("agent session does not start", 10, NOW_AND_THEN)
    START_SLOW = ("agent session starts slowly", 10, SELDOM)
    AGENT_REFUSES = ("agent refuses sessions for a while", 2, SELDOM)
    AGENT_SILENT = ("agent stays silent", 4, NOW_AND_THEN)
    AGENT_LATE = ("agent answers too late", 4, NOW_AND_THEN)
    ENDS_EARLY = ("session ends before the answer", 10, NOW_AND_THEN)
    ENDS_WITHIN = ("session ends within the answer", 10, SELDOM)
    ENDS_AFTER = ("session ends after the answer", 10, SELDOM)
    BREAKS_OFF = ("session breaks while it is spoken to", 10, NOW_AND_THEN)
    NO_COMPLETION = ("agent does not say that it is done", 30, SELDOM)
    NO_PARTS = ("agent does not stream", 30, SELDOM)
    NO_FINAL = ("streamed answer without its final text", 10, SELDOM)
    TALKS_ON = ("agent goes on after its answer", 4, SELDOM)
    USES_TOOL = ("agent calls a tool", 10, SELDOM)
    SAYS_NOTHING = ("agent chooses to say nothing", 4, SELDOM)
    SAYS_MUCH = ("agent's answer needs several messages", 10, SELDOM)
    # Calls at ElevenLabs.
    CALL_WEBHOOK_LOST = ("post-call webhook lost", 10, SELDOM)
    CALL_WEBHOOK_REPEATED = ("post-call webhook repeated", 10, SELDOM)
    CALL_LISTED_LATE = ("call is listed late", 10, SELDOM)
    CALL_UNKNOWN = ("call's details not known yet", 3, SELDOM)
    ANALYSIS_LATE = ("call's analysis is late", 10, SELDOM)
    ELEVENLABS_FAILS = ("ElevenLabs' API fails", 40, NOW_AND_THEN)
    ELEVENLABS_REFUSES = ("ElevenLabs' API refuses us", 10, NOW_AND_THEN)
    # The operator.
    CLOSED_BY_HAND = ("operator closes a conversation", 1, SELDOM)

    def __init__(self, words: str, at_most: int, rates: Sequence[float]) -> None:
        self.words = words
        self.at_most = at_most
        self.rates = rates


@define(eq=False)
class Chance:
    """Every choice of one world.

    Attributes:
        is_calm: nothing goes wrong any more.
        struck: how often each fault came about.
    """

    seed: int
    random: Random = field(init=False)
    rates: dict[Fault, float] = field(init=False)
    is_calm: bool = field(default=False, init=False)
    struck: Counter[Fault] = field(factory=Counter, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)
        self.rates = {fault: self._rate(fault) for fault in Fault}

    def _rate(self, fault: Fault) -> float:
        rate = self.random.choice(fault.rates)
        return rate if self.flips(ON) else 0.0

    def strikes(self, fault: Fault, weight: float = 1.0) -> bool:
        """Whether this fault comes about on this occasion, which counts for so many."""
        rate = self.rates[fault] * weight
        if not rate or self.is_calm or self.random.random() >= rate or self.struck[fault] >= fault.at_most:
            return False
        self.struck[fault] += 1
        return True

    def is_on(self, fault: Fault) -> bool:
        return self.rates[fault] > 0

    def flips(self, probability: float = 0.5) -> bool:
        return self.random.random() < probability

    def between(self, least: float, most: float) -> float:
        return self.random.uniform(least, most)

    def one_of(self, choices: Sequence[T]) -> T:
        return self.random.choice(choices)
