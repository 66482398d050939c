"""The transfer desk: whose turn it is, and that no call is forgotten.

Advisors come from the settings alone: a number that somebody sends is never dialled.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import structlog
import trio
from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.live_call.ports import LiveCallStore
from actors.live_call.telephony import ROOM_PREFIX, Telephony
from actors.ports import StoreUnavailableError, VendorRefusedError, VendorUnavailableError

_log = structlog.get_logger(__name__)

_STORE_ALERT = "live_calls_store"
_ROOMS_ALERT = "rooms_unseen"


@frozen(kw_only=True)
class Advisor:
    """Somebody to whom callers can be put through.

    Attributes:
        phone: E.164.
        whatsapp: where messages about recordings go; the same number, unless another is given.
    """

    name: str
    phone: str
    whatsapp: str
    topics: Sequence[str] = ()


@define(eq=False)
class Advisors:
    """The advisors in turn: of those who may be called, the one who was called longest ago. In memory alone: after a
    restart the turns begin anew.
    """

    _all: Sequence[Advisor]
    _turns: dict[str, int] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)
    _engaged: dict[int, str] = field(factory=dict, init=False)

    def choose(
        self, live_call_id: int, *, name: str = "", topic: str = "", tried: Collection[str] = ()
    ) -> str | None:
        """Whom to call for this call; None when nobody can be.

        Who was asked for by name is called even when he was tried before, and nobody in his place: a whole name means
        its owner alone, whoever else has it as a part of his. Without a name: of
        those who fit the topic, or of all where none does, who was not tried in this call. Who is engaged in another call
        is passed over.
        """
        engaged = {who for other, who in self._engaged.items() if other != live_call_id}
        free = [advisor for advisor in self._all if advisor.name not in engaged]
        if name:
            named = [advisor for advisor in self._all if _is_named(advisor, name)]
            owners = [advisor for advisor in named if _is_whole(advisor, name)]
            return self._take([advisor for advisor in owners or named if advisor in free])
        fresh = [advisor for advisor in free if advisor.name not in tried]
        fitting = [advisor for advisor in fresh if topic and _fits(advisor, topic)]
        return self._take(fitting or fresh)

    def named(self, name: str) -> Advisor | None:
        """The one of exactly this name, as the settings have it."""
        return next((advisor for advisor in self._all if advisor.name == name), None)

    def knows(self, name: str) -> bool:
        """Whether anybody is meant by a name that a caller or a program uses."""
        return any(_is_named(advisor, name) for advisor in self._all)

    def engage(self, live_call_id: int, name: str | None) -> None:
        """This call has that advisor on a leg now, or none."""
        if name is None:
            self._engaged.pop(live_call_id, None)
        else:
            self._engaged[live_call_id] = name

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Advisor]:
        return iter(self._all)

    def _take(self, candidates: Sequence[Advisor]) -> str | None:
        if not candidates:
            return None
        chosen = min(candidates, key=lambda advisor: self._turns.get(advisor.name, 0))
        self._count += 1
        self._turns[chosen.name] = self._count
        return chosen.name


def _is_named(advisor: Advisor, name: str) -> bool:
    """By the whole name, or any of its words: a caller says «Jesús»."""
    wanted = name.casefold().split()
    own = advisor.name.casefold().split()
    return bool(wanted) and all(word in own for word in wanted)


def _is_whole(advisor: Advisor, name: str) -> bool:
    return name.casefold().split() == advisor.name.casefold().split()


def _fits(advisor: Advisor, topic: str) -> bool:
    wanted = topic.casefold().strip()
    return any(wanted in own.casefold() or own.casefold() in wanted for own in advisor.topics)


class TransferDesk:
    """Sees to it, at the start and every `sweep_every_s`, that every call that has not ended has its actor, and that no
    room outlives its call.

    Only rooms named after a call of ours that has ended are ended: others may belong to another program of this account.
    """

    def __init__(
        self,
        *,
        store: LiveCallStore,
        telephony: Telephony,
        nudge: Callable[[int], bool],
        alerts: Alerts,
        sweep_every_s: float,
    ) -> None:
        self._store = store
        self._telephony = telephony
        self._nudge = nudge
        self._alerts = alerts
        self._sweep_every_s = sweep_every_s
        self._had_calls = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a database and a Twilio that are down."""
        task_status.started()
        while True:
            with self._alerts.while_failing(
                _STORE_ALERT, "live calls cannot be looked for in the database", StoreUnavailableError
            ):
                unfinished = await self._store.unfinished()
                for live_call_id in unfinished:
                    self._nudge(live_call_id)
                # One look more than there are calls: a room may have been opened as its call ended.
                if unfinished or self._had_calls:
                    await self._sweep_rooms(set(unfinished))
                self._had_calls = bool(unfinished)
            await trio.sleep(self._sweep_every_s)

    async def _sweep_rooms(self, unfinished: Collection[int]) -> None:
        with self._alerts.while_failing(
            _ROOMS_ALERT,
            "rooms at Twilio cannot be looked for: one that outlives its call would go on",
            VendorUnavailableError,
            VendorRefusedError,
        ):
            for room in await self._telephony.open_rooms():
                live_call_id = await self._store.find(room.name.removeprefix(ROOM_PREFIX))
                if live_call_id is None or live_call_id in unfinished:
                    continue
                # The list of calls is older than that of rooms: a call may have begun in between.
                call = await self._store.load(live_call_id)
                if call is not None and call.state.is_over:
                    _log.warning("room outlived its call", live_call_id=live_call_id)
                    await self._telephony.end_room(room.sid)
