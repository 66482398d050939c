"""Alerts about messages that fail, which settle by themselves when such messages go through again."""

from datetime import datetime

from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.failures import failure_of, told

_STANDING_MAX = 100


@frozen
class _Trouble:
    """Messages of one form fail with one code. `template_sid`: None for texts."""

    code: int
    template_sid: str | None


@define
class FailureAlerts:
    """Raises an alert `<prefix>_<code>` for what goes on until somebody mends it.

    It is over once a message of the same form (as text, or as the same template) that was handed over later has gone
    through, and that for every form in which the code was met. Over 100 troubles the oldest is forgotten, its alert
    with it.
    """

    alerts: Alerts
    prefix: str
    _last_met: dict[_Trouble, datetime] = field(factory=dict, init=False)

    def failed(self, code: int | None, template_sid: str | None, *, at: datetime) -> None:
        if code is None or not failure_of(code).needs_operator:
            return
        trouble = _Trouble(code, template_sid)
        self._last_met.pop(trouble, None)
        self._last_met[trouble] = at
        self.alerts.raise_alert(self._key(code), f"messages fail with {told(code)}")
        while len(self._last_met) > _STANDING_MAX:
            self._forget(next(iter(self._last_met)))

    def went_through(self, template_sid: str | None, *, handed_over_at: datetime) -> None:
        """A message of this form has gone through that Twilio accepted then."""
        for trouble, met_at in list(self._last_met.items()):
            if trouble.template_sid == template_sid and handed_over_at >= met_at:
                self._forget(trouble)

    def _forget(self, trouble: _Trouble) -> None:
        del self._last_met[trouble]
        if all(other.code != trouble.code for other in self._last_met):
            self.alerts.settle(self._key(trouble.code))

    def _key(self, code: int) -> str:
        return f"{self.prefix}_{code}"
