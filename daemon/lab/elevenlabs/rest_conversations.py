"""REST: conversations and signed URLs. Source: ElevenLabs OpenAPI, `/v1/convai/conversations`."""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode

from attrs import define
from quart import Response, request
from quart_trio import QuartTrio

from daemon.lab.elevenlabs.conversations import Conversation, as_detail, as_list_item
from daemon.lab.elevenlabs.errors import invalid
from daemon.lab.elevenlabs.rest import int_arg, page_of, reply
from daemon.lab.elevenlabs.world import World


def _is_success(conversation: Conversation, values: list[str]) -> bool:
    return conversation.analysis is not None and conversation.analysis.successful in values


_FILTERS: Final[Mapping[str, Callable[[Conversation, list[str]], bool]]] = {
    "agent_id": lambda it, values: it.agent_id in values,
    "user_id": lambda it, values: it.user_id in values,
    "call_successful": _is_success,
    "call_start_before_unix": lambda it, values: it.started_unix <= int(values[0]),
    "call_start_after_unix": lambda it, values: it.started_unix >= int(values[0]),
    "call_duration_min_secs": lambda it, values: it.duration_s >= int(values[0]),
    "call_duration_max_secs": lambda it, values: it.duration_s <= int(values[0]),
    "conversation_initiation_source": lambda it, values: it.source in values,
    "text_only": lambda it, values: it.text_only == (values[0].lower() == "true"),
    "exclude_statuses": lambda it, values: it.status.value not in values,
    "main_languages": lambda _, values: "es" in values,
    "tool_names": lambda it, values: any(name in values for name in it.tool_names),
    "termination_reasons": lambda it, values: it.termination_reason in values,
    "search": lambda it, values: any(
        values[0].lower() in (e["message"] or "").lower() for e in it.transcript
    ),
}


@define(eq=False)
class ConversationRoutes:
    world: World

    def add_to(self, app: QuartTrio) -> None:
        root = "/v1/convai/conversation"
        one = f"{root}s/<conversation_id>"
        app.add_url_rule(f"{root}/get-signed-url", view_func=self.get_signed_url, methods=["GET"])
        app.add_url_rule(
            f"{root}/get_signed_url", "get_signed_url_old", view_func=self.get_signed_url, methods=["GET"]
        )
        app.add_url_rule(f"{root}s", view_func=self.list_conversations, methods=["GET"])
        app.add_url_rule(one, view_func=self.get_conversation, methods=["GET"])
        app.add_url_rule(one, view_func=self.delete_conversation, methods=["DELETE"])

    async def get_signed_url(self) -> Response:
        """A URL on the host that was asked, good for 15 minutes to start, once if it names a conversation."""
        agent_id = request.args.get("agent_id")
        if agent_id is None:
            raise invalid((("query", "agent_id"), "Field required", "missing"))
        self.world.agent(agent_id)
        wants_id = request.args.get("include_conversation_id", "").lower() == "true"
        token, ticket = self.world.issue_ticket(agent_id, with_conversation_id=wants_id)
        query = {"agent_id": agent_id, "conversation_signature": token}
        if ticket.conversation_id is not None:
            query["conversation_id"] = ticket.conversation_id
        scheme = "wss" if request.scheme == "https" else "ws"
        return reply({"signed_url": f"{scheme}://{request.host}/v1/convai/conversation?{urlencode(query)}"})

    async def list_conversations(self) -> Response:
        newest_first = request.args.get("sort_direction", "desc") != "asc"
        size = int_arg("page_size", 30, least=1, most=100)
        try:
            found = [it for it in self.world.conversations.values() if _matches(it)]
        except ValueError as error:
            raise invalid((("query",), "Input should be a valid integer", "int_parsing")) from error
        # Equal starts keep the order of arrival, so that pages neither repeat nor skip anyone.
        found.sort(key=lambda it: it.started_unix)
        page, cursor = page_of(
            found[::-1] if newest_first else found,
            after=request.args.get("cursor"),
            size=size,
            id_of=lambda it: it.id,
        )
        with_summary = request.args.get("summary_mode") == "include"
        items = [as_list_item(it, with_summary=with_summary) for it in page]
        return reply({"conversations": items, "next_cursor": cursor, "has_more": cursor is not None})

    async def get_conversation(self, conversation_id: str) -> Response:
        return reply(as_detail(self.world.conversation(conversation_id)))

    async def delete_conversation(self, conversation_id: str) -> Response:
        self.world.conversation(conversation_id)
        del self.world.conversations[conversation_id]
        return reply({})


def _matches(conversation: Conversation) -> bool:
    return all(
        is_match(conversation, request.args.getlist(name))
        for name, is_match in _FILTERS.items()
        if name in request.args
    )
