"""Simulated phone calls: from dialling to the analysis, by script."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import Factory, define, field, frozen

from daemon.lab.elevenlabs.conversations import (
    Analysis,
    Conversation,
    PhoneLeg,
    Status,
    tool_entry_parts,
    tool_result_parts,
    transcript_entry,
)
from daemon.lab.elevenlabs.script import CallScript, Outcome, Story, story_of, value_for_field
from daemon.lab.elevenlabs.world import World

LAB_NUMBER: Final = "+15005550006"

_FAILURES: Final[Mapping[Outcome, tuple[str, str]]] = {
    # outcome: (failure_reason of the webhook, Twilio's call status)
    Outcome.NO_ANSWER: ("no-answer", "no-answer"),
    Outcome.BUSY: ("busy", "busy"),
    Outcome.FAILED: ("unknown", "failed"),
}


@frozen(kw_only=True)
class CallOrder:
    """A call to be made, or one that came in.

    Attributes:
        number: the other side's, E.164.
        direction: `outbound` or `inbound`.
        client_data: conversation initiation data without its `type`.
        batch: (batch id, recipient id).
    """

    agent_id: str
    number: str
    direction: str = "outbound"
    phone_number_id: str = "phnum_lab"
    client_data: Mapping[str, Any] = Factory(dict)
    batch: tuple[str, str] | None = None


@frozen(kw_only=True)
class Progress:
    """What a batch wants to hear of its call; `status` is a batch recipient's."""

    status: str
    is_final: bool


@define(eq=False)
class Calls:
    """Plays calls by their scripts. Every step is an action on the world's agenda."""

    world: World
    _held: dict[str, Callable[[], None]] = field(factory=dict, init=False)

    def dial(
        self,
        order: CallOrder,
        script: CallScript,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> Conversation:
        """Start a call; its conversation exists at once. `report` hears every step after this one.

        Raises:
            ValueError: a cancelled call has no conversation.
        """
        if script.outcome is Outcome.CANCELLED:
            raise ValueError("a cancelled call is not dialled")
        conversation = self._new_conversation(order, script)
        self.world.conversations[conversation.id] = conversation
        self.world.books.change()
        self.world.agenda.after(script.ring_s, partial(self._ring_out, conversation, script, report))
        return conversation

    def _new_conversation(self, order: CallOrder, script: CallScript) -> Conversation:
        world = self.world
        agent = world.agent(order.agent_id)
        lead_s = script.duration_s - script.talk_s if script.outcome not in _FAILURES else 0
        return Conversation(
            id=world.ids.new("conv_"),
            agent_id=agent.id,
            agent_name=agent.name,
            # A call that reports a minute and takes none here began a minute ago.
            started_unix=int(world.now() - max(0, lead_s)),
            source="twilio",
            authorization="authorization_header",
            user_id=order.client_data.get("user_id"),
            client_data=order.client_data,
            phone=PhoneLeg(
                direction=order.direction,
                phone_number_id=order.phone_number_id,
                agent_number=LAB_NUMBER,
                external_number=order.number,
                call_sid=world.ids.new_hex("CA"),
                stream_sid=world.ids.new_hex("MZ"),
            ),
            batch=order.batch,
            field_schemas=agent.platform["data_collection"],
        )

    def _ring_out(
        self, conversation: Conversation, script: CallScript, report: Callable[[Progress], None]
    ) -> None:
        if script.outcome in _FAILURES:
            reason, call_status = _FAILURES[script.outcome]
            conversation.call_result = script.outcome.value
            self.world.fail_conversation(conversation, failure_reason=reason, call_status=call_status)
            report(Progress(status="failed", is_final=True))
            return
        conversation.status = Status.IN_PROGRESS
        conversation.call_result = "voicemail" if script.outcome is Outcome.VOICEMAIL else "answered"
        report(Progress(status="in_progress", is_final=False))
        self.world.books.change()
        hang_up = partial(self._hang_up, conversation, script, report)
        if script.hold:
            self._held[conversation.id] = hang_up
        else:
            self.world.agenda.after(script.talk_s, hang_up)

    def finish(self, conversation_id: str) -> bool:
        """Hang up a call whose script holds it. False: no such call is held."""
        hang_up = self._held.pop(conversation_id, None)
        if hang_up is not None:
            hang_up()
        return hang_up is not None

    @property
    def held(self) -> list[str]:
        return list(self._held)

    def clear(self) -> None:
        self._held.clear()

    def _hang_up(
        self, conversation: Conversation, script: CallScript, report: Callable[[Progress], None]
    ) -> None:
        story = story_of(script, conversation.variables)
        conversation.duration_s = script.duration_s
        conversation.transcript = [
            transcript_entry(line.role, line.text, min(line.at_s, script.duration_s), medium="audio")
            for line in story.lines
        ]
        is_voicemail = script.outcome is Outcome.VOICEMAIL
        tool = "voicemail_detection" if is_voicemail else "end_call"
        conversation.termination_reason = f"{tool} tool was called"
        self._append_system_tool(conversation, tool)
        report(Progress(status="voicemail" if is_voicemail else "completed", is_final=True))
        self.world.end_conversation(
            conversation,
            _analysis_of(script, story, conversation),
            analysis_delay_s=script.analysis_delay_s,
        )

    def _append_system_tool(self, conversation: Conversation, name: str) -> None:
        request_id = self.world.ids.new("toolu_")
        call = tool_entry_parts(name, request_id, {"reason": "call over"}, tool_type="system")
        result = tool_result_parts(name, request_id, "Tool succeeded", tool_type="system")
        conversation.transcript.append(
            transcript_entry("agent", None, conversation.duration_s, tool_calls=[call], tool_results=[result])
        )


def _analysis_of(script: CallScript, story: Story, conversation: Conversation) -> Analysis:
    asked = {name: value_for_field(story.collected, name) for name in conversation.field_schemas}
    return Analysis(
        summary=story.summary,
        title=story.title,
        successful="failure" if script.outcome is Outcome.VOICEMAIL else script.successful,
        collected={**story.collected, **asked},
        sentiment=script.sentiment,
    )
