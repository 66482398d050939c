"""Webhooks on their unreliable way: duplicated, reordered, late or lost, as the faults say."""

from functools import partial

from attrs import define, field

from daemon.lab.faults import Faults
from daemon.lab.twilio.deliveries import Delivery
from daemon.lab.twilio.schedule import Schedule
from daemon.lab.twilio.webhooks import WebhookEngine


@define(eq=False)
class Courier:
    """Hands deliveries to the engine. Which faults may strike depends on a delivery's family: `webhook` or `status`."""

    engine: WebhookEngine
    schedule: Schedule
    faults: Faults
    _held: dict[str, Delivery] = field(factory=dict, init=False)

    def send(self, delivery: Delivery, *, family: str, key: str) -> None:
        """Send, or do to it what a fault of that family demands.

        Deliveries of one key have an order, in which a reordering exchanges neighbours.
        """
        if self._strikes(family, "lost") is not None:
            self._lose(delivery)
        elif (late_s := self._strikes(family, "late", seconds=30.0)) is not None:
            delivery.lane = None
            self.schedule.after(late_s, partial(self.engine.submit, delivery))
        elif (
            key not in self._held and (at_most_s := self._strikes(family, "reorder", seconds=2.0)) is not None
        ):
            self._held[key] = delivery
            self.schedule.after(at_most_s, partial(self._release, key, delivery))
        else:
            self._submit(delivery, family=family, key=key)

    def clear(self) -> None:
        self._held.clear()

    def _submit(self, delivery: Delivery, *, family: str, key: str) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            # In one lane, so that the held one does not arrive first after all.
            delivery.lane = held.lane = delivery.lane or f"reordered {key}"
        self.engine.submit(delivery)
        gap_s = self._strikes(family, "duplicate", seconds=0.0)
        if gap_s is not None:
            copy = delivery.again()
            copy.lane = None
            self.schedule.after(gap_s, partial(self.engine.submit, copy))
        if held is not None:
            self.engine.submit(held)

    def _release(self, key: str, delivery: Delivery) -> None:
        if self._held.get(key) is delivery:
            del self._held[key]
            self.engine.submit(delivery)

    def _lose(self, delivery: Delivery) -> None:
        delivery.note = "lost"
        delivery.done.set()
        self.engine.books.webhooks.append(delivery)
        self.engine.books.changed()

    def _strikes(self, family: str, what: str, *, seconds: float = 0.0) -> float | None:
        """The detail `seconds` of a fault that strikes now."""
        fault = self.faults.strikes(f"{family}_{what}")
        return None if fault is None else float(fault.details.get("seconds", seconds))
