"""What goes to a person in our own words instead of the agent's: openings, and the templates that stand for texts."""

from collections.abc import Mapping

from attrs import evolve, frozen

from actors.alerts import Alerts
from actors.calls import CallOutcome
from actors.conversation.context import facts_of
from actors.conversation.splitting import length, split
from actors.conversation.texts import CallFacts, TextError, Texts
from actors.messages import Purpose, Template
from actors.ports import KnownCall, Opening, PersonContext

MESSAGE_MAX = 1600
"""Twilio refuses a longer body (error 21617)."""
SUMMARY_MIN = 100
"""Less than that of a summary says nothing."""


@frozen
class Wording:
    """A text that cannot be made is an alert until it can be again, and the talk goes on without it."""

    texts: Texts
    template_sids: Mapping[Purpose, str]
    alerts: Alerts

    def template(self, purpose: Purpose, facts: CallFacts) -> Template | None:
        """What stands for a message of this purpose where the person's window is closed."""
        sid = self.template_sids.get(purpose)
        if not sid:
            return None
        alert = f"template_{purpose.value}"
        try:
            template = Template(sid=sid, variables=self.texts.render_template_variables(purpose, facts))
        except TextError as error:
            self.alerts.raise_alert(alert, f"a template variable failed: {error}")
            return None
        self.alerts.settle(alert)
        return template

    def opening(self, context: PersonContext, call: KnownCall, address: str) -> Opening | None:
        """The first message after a call; None when its outcome gets none."""
        facts, alert = facts_of(context, call), f"text_{call.outcome.value}"
        try:
            text = self._fitting(call.outcome, facts)
        except TextError as error:
            self.alerts.raise_alert(alert, f"a first message after a call could not be written: {error}")
            return None
        self.alerts.settle(alert)
        if text is None:
            return None
        return Opening(
            call_id=call.id,
            conversation_id=context.conversation_id,
            address=address,
            text=text,
            # It speaks of the talk there was; after a voicemail that would be untrue.
            template=self.template(Purpose.OPENING, facts) if call.outcome is CallOutcome.COMPLETED else None,
        )

    def _fitting(self, outcome: CallOutcome, facts: CallFacts) -> str | None:
        """A text that one message can hold: with a shorter summary where it must be, and without one before
        anything else of it is cut.
        """
        text = self.texts.render_follow_up(outcome, facts)
        if text is None or length(text) <= MESSAGE_MAX:
            return text
        room = length(facts.summary) - (length(text) - MESSAGE_MAX)
        summary = split(facts.summary, room - 1)[0] + "…" if room > SUMMARY_MIN else ""
        text = self.texts.render_follow_up(outcome, evolve(facts, summary=summary))
        return None if text is None else split(text)[0]
