"""Agents as ElevenLabs keeps them: read, compared with what they must be, and written.

Source: ElevenLabs OpenAPI, `/v1/convai/agents` and `/v1/convai/tools`.
"""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from attrs import define, frozen

from daemon.elevenlabs.agent_settings import Role, differences
from daemon.elevenlabs.agent_tools import WANTED_TOOLS, KnownTool, ToolPlan, plan_tool
from daemon.elevenlabs.fields import Record, items, part, required_text
from daemon.elevenlabs.rest import RestApi
from daemon.elevenlabs.setting_rules import Difference, patch_of

_TOOLS_MAX: Final = 100
"""The most that one page gives; more whose names begin alike nobody has."""


@frozen(kw_only=True)
class AgentPlan:
    """What is to be done to one agent; nothing where `found` is empty."""

    agent_id: str
    role: Role
    settings: Sequence[Difference]
    tools: Sequence[ToolPlan]
    tool_ids: Sequence[str]

    @property
    def found(self) -> Sequence[Difference]:
        return [*self.settings, *(found for tool in self.tools for found in tool.differences)]

    @property
    def writes(self) -> bool:
        """Whether there is anything to write; the rest is for the operator's hands."""
        return any(not difference.is_by_hand for difference in self.found)


@define(eq=False)
class AgentDocuments:
    _api: RestApi

    async def plan(self, agent_id: str, role: Role) -> AgentPlan | None:
        """What is not as it should be; None where there is no such agent.

        Raises:
            ApiUnavailableError, ApiRefusedError: ElevenLabs does not say.
        """
        document = await self._api.find(f"/convai/agents/{quote(agent_id, safe='')}")
        if document is None:
            return None
        tool_ids = _tool_ids(document)
        return AgentPlan(
            agent_id=agent_id,
            role=role,
            settings=differences(document, role),
            tools=[
                plan_tool(wanted, await self._tools_named(wanted.name), tool_ids) for wanted in WANTED_TOOLS
            ]
            if role is Role.VOICE
            else [],
            tool_ids=tool_ids,
        )

    async def write(self, plan: AgentPlan) -> Sequence[Difference]:
        """Carry a plan out: the tools first, then the agent. Gives what ElevenLabs did not take over although it did
        not refuse it. Broken off, it may be begun again.

        Raises:
            ApiUnavailableError, ApiRefusedError: it was not done, or not all of it.
        """
        ids = [await self._write_tool(tool) for tool in plan.tools]
        body = patch_of(plan.settings)
        tool_ids = [*plan.tool_ids, *(tool_id for tool_id in ids if tool_id not in plan.tool_ids)]
        if tool_ids != list(plan.tool_ids):
            agent = body.setdefault("conversation_config", {}).setdefault("agent", {})
            agent.setdefault("prompt", {})["tool_ids"] = tool_ids
        if not body:
            return []
        document = await self._api.patch(f"/convai/agents/{quote(plan.agent_id, safe='')}", body)
        return [*differences(document, plan.role), *_untaken(plan, ids, _tool_ids(document))]

    async def _tools_named(self, name: str) -> Sequence[KnownTool]:
        page = await self._api.get("/convai/tools", {"search": name, "page_size": _TOOLS_MAX})
        return [
            KnownTool(id=required_text(tool, "id", "tools"), config=part(tool, "tool_config"))
            for tool in items(page, "tools")
        ]

    async def _write_tool(self, tool: ToolPlan) -> str:
        body: dict[str, Any] = {"tool_config": tool.config}
        if tool.tool_id is None:
            made = await self._api.post("/convai/tools", body, timeout_s=self._api.timeout_s)
            return required_text(made, "id")
        if tool.is_written:
            # All of it: a tool is replaced, not merged.
            await self._api.patch(f"/convai/tools/{quote(tool.tool_id, safe='')}", body)
        return tool.tool_id


def _tool_ids(document: Record) -> list[str]:
    agent = part(part(document, "conversation_config"), "agent")
    ids = part(agent, "prompt").get("tool_ids")
    return [tool_id for tool_id in ids if isinstance(tool_id, str)] if isinstance(ids, list) else []


def _untaken(plan: AgentPlan, ids: Sequence[str], attached: Sequence[str]) -> Sequence[Difference]:
    return [
        found
        for tool, tool_id in zip(plan.tools, ids, strict=True)
        if tool_id not in attached
        for found in tool.differences
    ]
