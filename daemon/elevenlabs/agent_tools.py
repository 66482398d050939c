"""The client tools by which the voice agent asks something of a live call. Pure.

Tools belong to the workspace, and an agent names its own in `prompt.tool_ids` (ElevenLabs OpenAPI: `/v1/convai/tools`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from attrs import Factory, evolve, frozen

from daemon.elevenlabs.fields import Record
from daemon.elevenlabs.setting_rules import (
    Difference,
    Rule,
    always,
    at_least,
    exactly,
    having,
    including,
    merged,
    patch_of,
)

TOOLS_PATH: Final = "tools"
"""Where the differences of tools stand: `tools.<name>`, which is no place in the agent's document."""


@frozen(kw_only=True)
class WantedTool:
    """A tool, as it is made, and what must hold of one that is there."""

    config: Mapping[str, Any]
    rules: Sequence[Rule]
    why: str

    @property
    def name(self) -> str:
        return str(self.config["name"])

    def check(self, config: Record) -> Sequence[Difference]:
        return [difference for rule in self.rules for difference in rule.check(config)]


@frozen(kw_only=True)
class KnownTool:
    """A tool of the workspace."""

    id: str
    config: Record


@frozen(kw_only=True)
class ToolPlan:
    """What becomes of one wanted tool.

    Attributes:
        tool_id: None for one that is still to be made.
        config: all of it, as it should be.
        is_written: it is made or changed; otherwise it is well as it is, or not ours to touch.
        is_attached: the agent has it already.
    """

    name: str
    tool_id: str | None
    config: Record
    is_written: bool
    is_attached: bool
    differences: Sequence[Difference] = Factory(tuple)


def plan_tool(wanted: WantedTool, known: Sequence[KnownTool], attached: Collection[str]) -> ToolPlan:
    """What to do so that the agent with the `attached` tools has this one.

    One that the agent has is changed. Of those it has not, one is taken that is as it should be, such as ours after a
    run that was broken off; another's is left alone, since other agents may use it.
    """
    same_name = [tool for tool in known if tool.config.get("name") == wanted.name]
    for tool in same_name:
        if tool.id in attached:
            return _plan_for_attached(wanted, tool)
    usable = [tool for tool in same_name if _is_client(tool) and not wanted.check(tool.config)]
    missing = Difference(
        path=(TOOLS_PATH, wanted.name),
        has=None,
        wants="a client tool of the agent's",
        why=wanted.why,
        is_vital=True,
    )
    return ToolPlan(
        name=wanted.name,
        tool_id=usable[0].id if usable else None,
        config=usable[0].config if usable else wanted.config,
        is_written=not usable,
        is_attached=False,
        differences=(missing,),
    )


def _plan_for_attached(wanted: WantedTool, tool: KnownTool) -> ToolPlan:
    if not _is_client(tool):
        clash = Difference(
            path=(TOOLS_PATH, wanted.name, "type"),
            has=tool.config.get("type"),
            wants="another name for the agent's tool, so that ours can have this one",
            why=wanted.why,
            is_vital=True,
            is_by_hand=True,
        )
        return ToolPlan(
            name=wanted.name,
            tool_id=tool.id,
            config=tool.config,
            is_written=False,
            is_attached=True,
            differences=(clash,),
        )
    found = wanted.check(tool.config)
    return ToolPlan(
        name=wanted.name,
        tool_id=tool.id,
        config=merged(tool.config, patch_of(found)),
        is_written=bool(found),
        is_attached=True,
        differences=tuple(evolve(one, path=(TOOLS_PATH, wanted.name, *one.path)) for one in found),
    )


def _is_client(tool: KnownTool) -> bool:
    return tool.config.get("type") == "client"


def _rules(*, required: Sequence[str], properties: Mapping[str, Any], answer_s: int) -> tuple[Rule, ...]:
    unheard = "the agent cannot say what the call needs to know"
    return (
        Rule(
            path="expects_response",
            wants=exactly(True),
            why="the agent does not wait for the outcome and makes one up",
            is_vital=always,
        ),
        Rule(
            path="response_timeout_secs",
            # -1 is no limit (ElevenLabs' Python SDK).
            wants=at_least(answer_s, unless=-1),
            why="the agent takes an answer that is on its way for a failure",
        ),
        *(
            [
                Rule(path="parameters.type", wants=exactly("object"), why=unheard, is_vital=always),
                Rule(path="parameters.properties", wants=having(properties), why=unheard, is_vital=always),
            ]
            if properties
            else []
        ),
        *([Rule(path="parameters.required", wants=including(*required), why=unheard)] if required else []),
    )


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


def _tool(
    *, name: str, why: str, description: str, required: Sequence[str], properties: Mapping[str, Any]
) -> WantedTool:
    answer_s = 40
    return WantedTool(
        why=why,
        rules=_rules(required=required, properties=properties, answer_s=answer_s),
        config={
            "type": "client",
            "name": name,
            "description": description,
            "parameters": {"type": "object", "required": list(required), "properties": dict(properties)},
            "expects_response": True,
            "response_timeout_secs": answer_s,
            # The agent's sentence is heard before the tool does anything.
            "pre_tool_speech": "force",
            "execution_mode": "post_tool_speech",
            "interruption_mode": "disable_during_tool",
        },
    )


WANTED_TOOLS: Final = (
    _tool(
        name="request_advisor",
        why="a caller who asks for a person gets none",
        description=(
            "Pide que un asesor humano atienda la llamada. Úsala cuando el cliente quiera hablar con una persona o "
            "cuando no puedas ayudarle. Mientras el teléfono del asesor suena, sigue conversando con el cliente."
        ),
        required=["reason"],
        properties={
            "reason": _text("Motivo por el que el cliente quiere hablar con una persona, en una frase."),
            "advisor": _text("Nombre del asesor, solo si el cliente pidió a uno."),
            "topic": _text("Tema del que se trata, en una o dos palabras."),
        },
    ),
    _tool(
        name="take_message",
        why="a caller whom no advisor answered cannot leave a message",
        description=(
            "Graba un recado del cliente para un asesor. Úsala cuando ningún asesor contestó y el cliente quiere dejar "
            "un recado."
        ),
        required=[],
        properties={},
    ),
)
