"""What goes to a person in our own words instead of the agent's: openings, and the templates that stand for texts."""

from collections.abc import Mapping

from attrs import frozen

from actors.alerts import Alerts
from actors.conversation.context import facts_of
from actors.conversation.texts import CallFacts, TextError, Texts
from actors.messages import Purpose, Template
from actors.ports import KnownCall, Opening, PersonContext


@frozen
class Wording:
    """A text that cannot be made is an alert, and the talk goes on without it."""

    texts: Texts
    template_sids: Mapping[Purpose, str]
    alerts: Alerts

    def template(self, purpose: Purpose, facts: CallFacts) -> Template | None:
        """What stands for a message of this purpose where the person's window is closed."""
        sid = self.template_sids.get(purpose)
        if not sid:
            return None
        try:
            return Template(sid=sid, variables=self.texts.render_template_variables(purpose, facts))
        except TextError as error:
            self.alerts.raise_alert(f"text_{purpose.value}", f"a template variable failed: {error}")
            return None

    def opening(self, context: PersonContext, call: KnownCall, address: str) -> Opening | None:
        """The first message after a call; None when its outcome gets none."""
        facts = facts_of(context, call)
        try:
            text = self.texts.render_follow_up(call.outcome, facts)
        except TextError as error:
            self.alerts.raise_alert("text_opening", f"an opening could not be written: {error}")
            return None
        if text is None:
            return None
        return Opening(
            call_id=call.id,
            conversation_id=context.conversation_id,
            address=address,
            text=text,
            template=self.template(Purpose.OPENING, facts),
        )
