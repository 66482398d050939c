"""REST: agents and their tools. Source: ElevenLabs OpenAPI, `/v1/convai/agents` and `/v1/convai/tools`."""

from typing import Any, Final

from attrs import define
from quart import Response, request
from quart_trio import QuartTrio

from daemon.lab.elevenlabs.agents import CLIENT_EVENTS, Agent, full_document, merged, setting_problem
from daemon.lab.elevenlabs.errors import business_error, invalid, require
from daemon.lab.elevenlabs.rest import empty_reply, int_arg, page_of, read_json, reply
from daemon.lab.elevenlabs.world import Tool, World

_ACCESS: Final = {
    "is_creator": True,
    "creator_name": "Lab",
    "creator_email": "lab@example.com",
    "role": "admin",
}


def _check(document: dict[str, Any]) -> None:
    """Refuse what ElevenLabs refuses: unknown client events (422) and settings that clash (400)."""
    events = document["conversation_config"]["conversation"]["client_events"]
    where = ("body", "conversation_config", "conversation", "client_events")
    problems = [
        ((*where, index), "Input should be a known client event", "enum")
        for index, event in enumerate(events)
        if event not in CLIENT_EVENTS
    ]
    if problems:
        raise invalid(*problems)
    problem = setting_problem(document)
    if problem is not None:
        raise business_error(400, "input_invalid", problem, kind="validation_error")


def _as_json(agent: Agent) -> dict[str, Any]:
    return {
        "agent_id": agent.id,
        "name": agent.name,
        "conversation_config": agent.config,
        "platform_settings": agent.platform,
        "metadata": {"created_at_unix_secs": agent.created_at, "updated_at_unix_secs": agent.updated_at},
        "phone_numbers": [],
        "whatsapp_accounts": [],
        "access_info": _ACCESS,
        "tags": agent.document["tags"],
        "version_id": None,
        "branch_id": None,
        "main_branch_id": None,
    }


def _as_summary(agent: Agent) -> dict[str, Any]:
    return {
        "agent_id": agent.id,
        "name": agent.name,
        "tags": agent.document["tags"],
        "created_at_unix_secs": agent.created_at,
        "access_info": _ACCESS,
        "last_call_time_unix_secs": None,
        "archived": False,
    }


@define(eq=False)
class AgentRoutes:
    world: World

    def add_to(self, app: QuartTrio) -> None:
        one = "/v1/convai/agents/<agent_id>"
        app.add_url_rule("/v1/convai/agents/create", view_func=self.create_agent, methods=["POST"])
        app.add_url_rule("/v1/convai/agents", view_func=self.list_agents, methods=["GET"])
        app.add_url_rule(one, view_func=self.get_agent, methods=["GET"])
        app.add_url_rule(one, view_func=self.patch_agent, methods=["PATCH"])
        app.add_url_rule(one, view_func=self.delete_agent, methods=["DELETE"])

    async def create_agent(self) -> Response:
        body = await read_json()
        require(body, conversation_config=dict)
        _check(full_document(body))
        return reply({"agent_id": self.world.add_agent(body).id})

    async def list_agents(self) -> Response:
        search = request.args.get("search", "").lower()
        agents = [agent for agent in self.world.agents.values() if search in agent.name.lower()]
        page, cursor = page_of(
            agents[::-1],
            after=request.args.get("cursor"),
            size=int_arg("page_size", 30, least=1, most=100),
            id_of=lambda agent: agent.id,
        )
        summaries = [_as_summary(agent) for agent in page]
        return reply({"agents": summaries, "next_cursor": cursor, "has_more": cursor is not None})

    async def get_agent(self, agent_id: str) -> Response:
        return reply(_as_json(self.world.agent(agent_id)))

    async def patch_agent(self, agent_id: str) -> Response:
        agent = self.world.agent(agent_id)
        document = merged(agent.document, await read_json())
        _check(document)
        agent.document = document
        agent.updated_at = int(self.world.now())
        return reply(_as_json(agent))

    async def delete_agent(self, agent_id: str) -> Response:
        self.world.agent(agent_id)
        del self.world.agents[agent_id]
        return empty_reply(204)


@define(eq=False)
class ToolRoutes:
    world: World

    def add_to(self, app: QuartTrio) -> None:
        one = "/v1/convai/tools/<tool_id>"
        app.add_url_rule("/v1/convai/tools", view_func=self.create_tool, methods=["POST"])
        app.add_url_rule("/v1/convai/tools", view_func=self.list_tools, methods=["GET"])
        app.add_url_rule(one, view_func=self.get_tool, methods=["GET"])
        app.add_url_rule(one, view_func=self.patch_tool, methods=["PATCH"])
        app.add_url_rule(one, view_func=self.delete_tool, methods=["DELETE"])

    def _as_json(self, tool: Tool) -> dict[str, Any]:
        stats = {"total_calls": 0, "avg_latency_secs": 0.0}
        return {"id": tool.id, "tool_config": tool.config, "access_info": _ACCESS, "usage_stats": stats}

    async def _read_config(self) -> dict[str, Any]:
        body = await read_json()
        require(body, tool_config=dict)
        config: dict[str, Any] = body["tool_config"]
        require(config, type=str, name=str, description=str)
        return config

    async def create_tool(self) -> Response:
        return reply(self._as_json(self.world.add_tool(await self._read_config())))

    async def list_tools(self) -> Response:
        search = request.args.get("search", "").lower()
        tools = [tool for tool in self.world.tools.values() if search in tool.config["name"].lower()]
        page, cursor = page_of(
            tools[::-1],
            after=request.args.get("cursor"),
            size=int_arg("page_size", 30, least=1, most=100),
            id_of=lambda tool: tool.id,
        )
        listed = [self._as_json(tool) for tool in page]
        return reply({"tools": listed, "next_cursor": cursor, "has_more": cursor is not None})

    async def get_tool(self, tool_id: str) -> Response:
        return reply(self._as_json(self.world.tool(tool_id)))

    async def patch_tool(self, tool_id: str) -> Response:
        self.world.tool(tool_id)
        self.world.tools[tool_id] = Tool(tool_id, await self._read_config())
        return reply(self._as_json(self.world.tool(tool_id)))

    async def delete_tool(self, tool_id: str) -> Response:
        self.world.tool(tool_id)
        del self.world.tools[tool_id]
        return reply({})
