"""Faults that can be switched on by name and repeated by seed."""

import math
import random
from collections.abc import Mapping
from typing import Any, Final

from attrs import Factory, define, field, frozen

_NUMERIC: Final = frozenset({"code", "count", "retry_after_s", "seconds", "status"})
_KEYS: Final = frozenset({"probability", "times", "details"})


class UnknownFaultError(ValueError):
    """The name is none that this simulator knows; the message lists those it does."""


class BadFaultError(ValueError):
    """A fault that cannot be; the message says what of it is wrong."""


@frozen(kw_only=True)
class Fault:
    """One fault that is switched on.

    Attributes:
        probability: chance of a strike at each opportunity, 0 to 1.
        times: strikes left before the fault switches itself off; None has no end.
        details: what the fault needs to know, for example `{"seconds": 3.0}`.
    """

    name: str
    probability: float = 1.0
    times: int | None = None
    details: Mapping[str, float | int | str] = Factory(dict)


@define
class Faults:
    """The faults of one simulator.

    Each name draws from a generator of its own, seeded by `seed` and the name, so that switching one fault
    on does not move the strikes of another.

    Attributes:
        known: every name with the sentence that explains it; other names are refused.
    """

    known: Mapping[str, str]
    seed: int = 0
    _on: dict[str, Fault] = field(factory=dict, init=False)
    _draws: dict[str, random.Random] = field(factory=dict, init=False)

    def switch_on(self, fault: Fault) -> None:
        """Switch a fault on, in place of one of the same name.

        Raises:
            UnknownFaultError: the simulator has no fault of that name.
            BadFaultError: its probability is none, it is to strike less than once, or a number among its details
                is none.
        """
        if fault.name not in self.known:
            raise UnknownFaultError(f"no fault {fault.name!r}; there are: {', '.join(sorted(self.known))}")
        _check(fault)
        self._on[fault.name] = fault
        # A test fault needs repeatable draws, not secrecy.
        self._draws[fault.name] = random.Random(f"{self.seed}/{fault.name}")  # noqa: S311

    def switch_off(self, name: str) -> None:
        self._on.pop(name, None)

    def clear(self) -> None:
        self._on.clear()

    @property
    def active(self) -> list[Fault]:
        return list(self._on.values())

    def strikes(self, name: str) -> Fault | None:
        """Ask at an opportunity whether the fault strikes now; counts it when it does."""
        if name not in self.known:
            raise UnknownFaultError(name)
        fault = self._on.get(name)
        if fault is None or self._draws[name].random() >= fault.probability:
            return None
        if fault.times is not None:
            if fault.times <= 1:
                self.switch_off(name)
            else:
                self._on[name] = Fault(
                    name=name, probability=fault.probability, times=fault.times - 1, details=fault.details
                )
        return fault


def read_fault(name: str, body: Mapping[str, Any]) -> Fault:
    """A fault as a control route is asked for it: `{"probability"?, "times"?, "details"?}`.

    Raises:
        BadFaultError: not of that shape. What the values may be is checked when it is switched on.
    """
    unknown = sorted(set(body) - _KEYS)
    if unknown:
        raise BadFaultError(
            f"no such setting of a fault: {', '.join(unknown)}; there are: {', '.join(sorted(_KEYS))}"
        )
    details = body.get("details")
    if not isinstance(details, dict | None):
        raise BadFaultError("details: an object is needed")
    return Fault(
        name=name, probability=body.get("probability", 1.0), times=body.get("times"), details=details or {}
    )


def _check(fault: Fault) -> None:
    if not _is_number(fault.probability) or not 0 <= fault.probability <= 1:
        raise BadFaultError("probability: a number from 0 to 1 is needed")
    if fault.times is not None and (type(fault.times) is not int or fault.times < 1):
        raise BadFaultError("times: a whole number from 1 is needed, or null for no end")
    for name, value in fault.details.items():
        if name in _NUMERIC and (not _is_number(value) or float(value) < 0):
            raise BadFaultError(f"details: {name}: a number from 0 is needed")
        if not isinstance(value, str) and not _is_number(value):
            raise BadFaultError(f"details: {name}: a number or a string is needed")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
