"""The state of the simulated ElevenLabs workspace, and what ends a conversation."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import Factory, define, field, frozen

from daemon.lab.elevenlabs.agenda import Agenda
from daemon.lab.elevenlabs.agents import Agent, Document, full_document
from daemon.lab.elevenlabs.books import Books
from daemon.lab.elevenlabs.conversations import Analysis, Conversation, Status, as_detail
from daemon.lab.elevenlabs.errors import not_found
from daemon.lab.elevenlabs.ids import Ids
from daemon.lab.elevenlabs.webhooks import WebhookBook, Webhooks
from daemon.lab.faults import Faults
from daemon.lab.spoken import Spoken

_TICKET_LIFE_S: Final = 15 * 60
_TICKETS_MAX: Final = 50_000


def _nobody(_: str) -> None:
    """Nobody listens to what the agent says."""


@define(eq=False, kw_only=True)
class Ticket:
    """A signature of a signed URL. One with a conversation id is good for one session."""

    agent_id: str
    expires_unix: float
    conversation_id: str | None = None
    is_used: bool = False


@frozen
class Tool:
    id: str
    config: Document


@define(eq=False, kw_only=True)
class World:
    """Everything the simulator knows; all of it lives in memory.

    Attributes:
        frames_kept: frames that a conversation remembers, the newest ones.
        spoken: what is said on the telephone, known by its sound.
        on_agent_speaks, on_agent_said: called with a reply's text as its sound begins to be played and when all of it
            has been; one that is cut off in between is not told as said.
    """

    ids: Ids
    faults: Faults
    now: Callable[[], float]
    frames_kept: int = 5_000
    agenda: Agenda = Factory(Agenda)
    agents: dict[str, Agent] = Factory(dict)
    tools: dict[str, Tool] = Factory(dict)
    conversations: dict[str, Conversation] = Factory(dict)
    tickets: dict[str, Ticket] = Factory(dict)
    webhook_book: WebhookBook = Factory(WebhookBook)
    spoken: Spoken = Factory(Spoken)
    on_agent_speaks: Callable[[str], None] = _nobody
    on_agent_said: Callable[[str], None] = _nobody
    books: Books = field(init=False)
    webhooks: Webhooks = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.books = Books(self.conversations)
        self.webhooks = Webhooks(faults=self.faults, agenda=self.agenda, books=self.books, now=self.now)

    def add_agent(self, body: Mapping[str, Any], *, agent_id: str | None = None) -> Agent:
        """Make an agent from a `POST /v1/convai/agents/create` body; the id is chosen unless given."""
        now = int(self.now())
        agent = Agent(agent_id or self.ids.new("agent_"), full_document(body), now, now)
        self.agents[agent.id] = agent
        return agent

    def add_tool(self, config: Document) -> Tool:
        tool = Tool(self.ids.new("tool_"), config)
        self.tools[tool.id] = tool
        return tool

    def agent(self, agent_id: str) -> Agent:
        if agent_id not in self.agents:
            raise not_found("agent", agent_id)
        return self.agents[agent_id]

    def conversation(self, conversation_id: str) -> Conversation:
        if conversation_id not in self.conversations:
            raise not_found("conversation", conversation_id)
        return self.conversations[conversation_id]

    def tool(self, tool_id: str) -> Tool:
        if tool_id not in self.tools:
            raise not_found("tool", tool_id)
        return self.tools[tool_id]

    def tool_configs(self, agent: Agent) -> dict[str, Document]:
        """The agent's tools by name: built-in, inline and by id."""
        prompt = agent.config["agent"]["prompt"]
        built_in = {name: tool for name, tool in prompt["built_in_tools"].items() if tool}
        inline = {tool["name"]: tool for tool in prompt.get("tools") or []}
        by_id = [self.tools[tool_id].config for tool_id in prompt["tool_ids"] if tool_id in self.tools]
        return {**built_in, **inline, **{tool["name"]: tool for tool in by_id}}

    def issue_ticket(self, agent_id: str, *, with_conversation_id: bool) -> tuple[str, Ticket]:
        while len(self.tickets) >= _TICKETS_MAX:
            del self.tickets[next(iter(self.tickets))]
        ticket = Ticket(
            agent_id=agent_id,
            expires_unix=self.now() + _TICKET_LIFE_S,
            conversation_id=self.ids.new("conv_") if with_conversation_id else None,
        )
        token = self.ids.new("cvtkn_")
        self.tickets[token] = ticket
        return token, ticket

    def redeem_ticket(self, token: str, agent_id: str) -> Ticket | None:
        """The ticket, when it may start a session now."""
        ticket = self.tickets.get(token)
        if ticket is None or ticket.agent_id != agent_id or ticket.expires_unix < self.now():
            return None
        if ticket.conversation_id is not None and ticket.is_used:
            return None
        ticket.is_used = True
        return ticket

    def end_conversation(
        self, conversation: Conversation, analysis: Analysis, *, analysis_delay_s: float
    ) -> None:
        """The conversation is over: `processing` now, `done` with its analysis and webhook later."""
        conversation.status = Status.PROCESSING
        self.books.change()
        if self.faults.strikes("analysis_never"):
            return
        if late := self.faults.strikes("analysis_late"):
            analysis_delay_s += float(late.details.get("seconds", 30))
        self.agenda.after(analysis_delay_s, partial(self._analysed, conversation, analysis))

    def _analysed(self, conversation: Conversation, analysis: Analysis) -> None:
        conversation.analysis = analysis
        conversation.status = Status.DONE
        self.books.change()
        self.post_webhook(conversation, "post_call_transcription", as_detail(conversation))

    def fail_conversation(self, conversation: Conversation, *, failure_reason: str, call_status: str) -> None:
        """The call never came about: `failed`, and the `call_initiation_failure` webhook.

        `failure_reason` is busy, no-answer or unknown; `call_status` is Twilio's.
        """
        conversation.status = Status.FAILED
        conversation.termination_reason = f"Call initiation failed: {failure_reason}"
        conversation.error = (1011, conversation.termination_reason)
        self.books.change()
        phone = conversation.phone
        body = {} if phone is None else {
            "CallSid": phone.call_sid,
            "CallStatus": call_status,
            "To": phone.external_number,
            "From": phone.agent_number,
            "Direction": "outbound-api",
        }  # fmt: skip
        content = {
            "agent_id": conversation.agent_id,
            "conversation_id": conversation.id,
            "failure_reason": failure_reason,
            "metadata": {"type": "twilio", "body": body},
        }
        self.post_webhook(conversation, "call_initiation_failure", content)

    def post_webhook(self, conversation: Conversation, kind: str, content: Mapping[str, Any]) -> None:
        agent = self.agents.get(conversation.agent_id)
        overrides = agent.platform["workspace_overrides"] if agent is not None else {}
        target = self.webhook_book.target_for(overrides.get("webhooks") or {})
        if target is not None:
            self.webhooks.post(target, kind, conversation.id, content)

    def clear_traffic(self) -> None:
        """Forget conversations, tickets and what was still to happen. Agents, tools and webhooks stay."""
        self.conversations.clear()
        self.tickets.clear()
        self.agenda.clear()
        self.webhooks.clear()
        self.books.clear()
