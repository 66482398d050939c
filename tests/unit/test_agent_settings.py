"""What agents must be set to: every rule, the patch that mends, and that nothing else is touched."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.calls import CallOutcome
from actors.conversation.context import facts_of, session_plan
from actors.ports import KnownCall, PersonContext
from daemon.elevenlabs.agent_settings import COLLECTED, SENT_VARIABLES, Role, differences
from daemon.elevenlabs.agent_tools import WANTED_TOOLS, KnownTool, WantedTool, plan_tool
from daemon.elevenlabs.setting_rules import Difference, patch_of
from daemon.elevenlabs.setting_rules import merged as merged_here
from daemon.lab.elevenlabs.agents import full_document, merged

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
CALL = KnownCall(
    id="conv_1",
    agent_id="agent_voice",
    duration_s=60,
    outcome=CallOutcome.COMPLETED,
    started_at=NOW,
    summary="Preguntó por el precio.",
    transcript_excerpt="",
    variables={},
    collected={},
)

PERSON = PersonContext(
    person_id=1,
    conversation_id=1,
    address="+573001234567",
    window_opened_at=None,
    agent_id="agent",
    pseudonym="p",
    name=None,
    calls=(CALL,),
    messages=(),
)


def fresh(**config: Any) -> dict[str, Any]:
    """An agent as the API makes it."""
    return full_document({"name": "Valeria", "conversation_config": config})


def mended(document: Mapping[str, Any], role: Role) -> dict[str, Any]:
    return merged(document, patch_of(differences(document, role)))


def found(document: Mapping[str, Any], role: Role) -> dict[str, Difference]:
    return {".".join(one.path): one for one in differences(document, role)}


OVERRIDES = "platform_settings.overrides.conversation_config_override"
EVENTS = "conversation_config.conversation.client_events"
PLACEHOLDERS = "conversation_config.agent.dynamic_variables.dynamic_variable_placeholders"


# --- What is looked at ----------------------------------------------------------------------------------


def test_a_fresh_text_agent_lacks_what_the_docs_name() -> None:
    lacks = found(fresh(), Role.TEXT)

    assert {path: one.wants for path, one in lacks.items() if path not in {EVENTS, PLACEHOLDERS}} == {
        f"{OVERRIDES}.conversation.text_only": True,
        f"{OVERRIDES}.agent.first_message": True,
        "conversation_config.turn.turn_timeout": -1,
        "conversation_config.conversation.max_duration_seconds": 3600,
        "platform_settings.auth.enable_auth": True,
        "platform_settings.summary_language": "es",
    }
    assert lacks[PLACEHOLDERS].wants == SENT_VARIABLES
    assert {path for path, one in lacks.items() if one.is_vital} == {
        f"{OVERRIDES}.conversation.text_only",
        f"{OVERRIDES}.agent.first_message",
    }
    assert all(one.why for one in lacks.values())


def test_a_fresh_voice_agent_lacks_what_the_docs_name() -> None:
    lacks = found(fresh(), Role.VOICE)

    assert set(lacks) == {
        "conversation_config.tts.agent_output_audio_format",
        "conversation_config.tts.model_id",
        "conversation_config.asr.user_input_audio_format",
        "conversation_config.conversation.max_duration_seconds",
        "conversation_config.agent.prompt.built_in_tools.end_call",
        f"{OVERRIDES}.agent.first_message",
        "platform_settings.auth.enable_auth",
        "platform_settings.summary_language",
        "platform_settings.data_collection",
        EVENTS,
        PLACEHOLDERS,
    }
    assert {path for path, one in lacks.items() if one.is_vital} == {
        "conversation_config.tts.agent_output_audio_format",
        "conversation_config.asr.user_input_audio_format",
        EVENTS,
    }


def test_what_the_operator_has_beyond_ours_stays() -> None:
    document = fresh(
        conversation={"client_events": ["vad_score", "audio"], "max_duration_seconds": 7200},
        agent={
            "first_message": "Hola, {{name}}.",
            "prompt": {
                "prompt": "Vende {{ product }} con {{system__time_utc}} y {{secret__key}}.",
                "llm": "gpt-5",
                "built_in_tools": {"end_call": {"name": "end_call", "description": "Cuelga."}},
            },
            "dynamic_variables": {"dynamic_variable_placeholders": {"customer_name": "cliente", "own": 3}},
        },
        tts={"voice_id": "voz", "model_id": "eleven_v3_conversational", "speed": 1.1},
    )
    document["platform_settings"]["data_collection"] = {
        "nombre": {"type": "string"},
        "budget": {"type": "number"},
    }
    before = copy.deepcopy(document)

    after = mended(document, Role.VOICE)

    assert document == before
    events = after["conversation_config"]["conversation"]["client_events"]
    assert events[:2] == ["vad_score", "audio"]
    assert {"interruption", "client_tool_call", "ping"} <= set(events)
    assert after["conversation_config"]["conversation"]["max_duration_seconds"] == 7200
    agent = after["conversation_config"]["agent"]
    placeholders = agent["dynamic_variables"]["dynamic_variable_placeholders"]
    assert (placeholders["customer_name"], placeholders["own"]) == ("cliente", 3)
    assert {"name", "product"} <= placeholders.keys()
    assert not [name for name in placeholders if name.startswith(("system__", "secret__"))]
    assert (agent["first_message"], agent["prompt"]) == (
        "Hola, {{name}}.",
        before["conversation_config"]["agent"]["prompt"],
    )
    assert after["conversation_config"]["tts"] == {
        **before["conversation_config"]["tts"],
        "agent_output_audio_format": "ulaw_8000",
    }
    collection = after["platform_settings"]["data_collection"]
    assert {"nombre", "budget", "intent", "next_steps"} <= collection.keys()
    assert "customer_name" not in collection


def test_a_variable_that_the_agent_uses_and_nobody_sends_ends_every_call() -> None:
    document = mended(fresh(), Role.VOICE)
    document["conversation_config"]["agent"]["first_message"] = "Hola, ¿hablo con {{name}}?"

    lacks = found(document, Role.VOICE)

    assert set(lacks) == {PLACEHOLDERS}
    assert lacks[PLACEHOLDERS].is_vital


@pytest.mark.parametrize(
    ("has", "becomes"),
    [
        ("eleven_turbo_v2", "eleven_turbo_v2_5"),
        ("eleven_flash_v2", "eleven_flash_v2_5"),
        (None, "eleven_flash_v2_5"),
        ("eleven_multilingual_v2", "eleven_multilingual_v2"),
        ("eleven_v9_of_the_future", "eleven_v9_of_the_future"),
    ],
)
def test_only_a_model_for_english_alone_is_changed(has: str | None, becomes: str) -> None:
    document = fresh(tts={"model_id": has})
    assert mended(document, Role.VOICE)["conversation_config"]["tts"]["model_id"] == becomes


@pytest.mark.parametrize(
    ("lacks", "is_vital"), [("agent_response", True), ("agent_response_complete", False)]
)
def test_an_event_that_is_only_convenient_is_no_matter_of_life(lacks: str, *, is_vital: bool) -> None:
    document = mended(fresh(), Role.TEXT)
    document["conversation_config"]["conversation"]["client_events"].remove(lacks)

    assert found(document, Role.TEXT)[EVENTS].is_vital is is_vital


# --- It agrees with those who send and look -------------------------------------------------------------


def test_every_variable_that_sessions_send_has_a_placeholder() -> None:
    sent = session_plan(PERSON, now=NOW).dynamic_variables
    # Calls have one more.
    assert sent.keys() == SENT_VARIABLES.keys() - {"caller_digits"}
    # What stands for a variable that is not sent is of its kind, or says nothing.
    assert all(SENT_VARIABLES[name] == "" or type(SENT_VARIABLES[name]) is type(sent[name]) for name in sent)
    unknown = evolve(PERSON, calls=())
    assert session_plan(unknown, now=NOW).dynamic_variables.keys() <= SENT_VARIABLES.keys()


@pytest.mark.parametrize("name", [name for field in COLLECTED for name in field.ids])
def test_each_field_of_data_collection_is_one_that_a_follow_up_reads(name: str) -> None:
    def told(**collected: str) -> tuple[object, object]:
        context = evolve(PERSON, calls=(evolve(CALL, collected=collected),))
        return facts_of(context), session_plan(context, now=NOW).dynamic_variables

    assert told(**{name: "algo"}) != told()


# --- Any document ---------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 9000) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = sorted(
    {one.path for role in Role for one in differences({}, role)}
    | {
        ("conversation_config", "agent", "prompt", "prompt"),
        ("conversation_config", "agent", "first_message"),
    }
)
PLAUSIBLE = st.sampled_from(
    [
        True,
        False,
        -1,
        -1.0,
        600,
        3600,
        "ulaw_8000",
        "pcm_16000",
        "es",
        "eleven_flash_v2",
        "Hola, {{name}} y {{ otro }}",
        ["audio", "vad_score"],
        ["agent_response"],
        {"customer_name": "x"},
        {"nombre": {"type": "string"}, "temas": {"type": "string"}},
    ]
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Agents in which anything may stand where something is looked for, and on the way there."""
    document: dict[str, Any] = draw(st.sampled_from([{}, fresh(), mended(fresh(), Role.VOICE)]))
    document = copy.deepcopy(document)
    for path in draw(st.lists(st.sampled_from(PLACES), max_size=6)):
        depth = draw(st.integers(1, len(path)))
        place: Any = document
        for name in path[: depth - 1]:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            # A copy: the next place may lie in it.
            place[path[depth - 1]] = copy.deepcopy(draw(JSON | PLAUSIBLE))
    return document


@given(documents(), st.sampled_from(Role))
def test_the_patch_leaves_no_difference_and_takes_nothing_away(document: dict[str, Any], role: Role) -> None:
    patch = patch_of(differences(document, role))
    after = merged(document, patch)

    assert differences(after, role) == []
    assert merged_here(document, patch) == after
    assert_kept(document, after)
    for one in (("agent", "prompt", "prompt"), ("agent", "first_message"), ("tts", "voice_id")):
        assert at(patch, "conversation_config", *one) is None


@given(documents())
def test_one_agent_may_have_both_roles(document: dict[str, Any]) -> None:
    after = mended(mended(document, Role.TEXT), Role.VOICE)
    assert differences(after, Role.TEXT) == []


def at(document: Any, *path: str) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def assert_kept(before: Any, after: Any) -> None:
    """Every name of an object and every item of a list is still there; single values may be others."""
    if isinstance(before, dict) and isinstance(after, dict):
        assert before.keys() <= after.keys()
        for name, value in before.items():
            assert_kept(value, after[name])
    elif isinstance(before, list) and isinstance(after, list):
        assert after[: len(before)] == before


# --- Tools ----------------------------------------------------------------------------------------------

ADVISOR, MESSAGE = WANTED_TOOLS


def tool(wanted: WantedTool, tool_id: str = "tool_1", **changes: Any) -> KnownTool:
    return KnownTool(id=tool_id, config=merged(wanted.config, changes))


def test_the_tools_say_what_a_call_needs() -> None:
    assert (ADVISOR.name, MESSAGE.name) == ("request_advisor", "take_message")
    parameters = ADVISOR.config["parameters"]
    assert (parameters["required"], set(parameters["properties"])) == (
        ["reason"],
        {"reason", "advisor", "topic"},
    )
    assert (ADVISOR.config["expects_response"], ADVISOR.config["response_timeout_secs"]) == (True, 40)
    # Nothing that nobody reads: the caller's own voice says what it is about.
    assert MESSAGE.config["parameters"] == {"type": "object", "required": [], "properties": {}}
    assert MESSAGE.config["expects_response"] is True


@pytest.mark.parametrize("wanted", WANTED_TOOLS, ids=lambda wanted: wanted.name)
def test_a_tool_that_we_make_is_as_it_should_be(wanted: WantedTool) -> None:
    assert wanted.check(wanted.config) == []
    plan = plan_tool(wanted, [], [])
    assert (plan.tool_id, plan.is_written, plan.is_attached, plan.config) == (
        None,
        True,
        False,
        wanted.config,
    )
    assert [one.path for one in plan.differences] == [("tools", wanted.name)]


def test_a_tool_that_the_agent_has_is_changed_and_keeps_the_rest() -> None:
    has = tool(
        ADVISOR,
        expects_response=False,
        response_timeout_secs=5,
        description="Mi texto.",
        parameters={"required": ["urgency"], "properties": {"urgency": {"type": "string"}}},
    )
    del has.config["parameters"]["properties"]["topic"]

    plan = plan_tool(ADVISOR, [has], ["tool_0", "tool_1"])

    assert (plan.tool_id, plan.is_written, plan.is_attached) == ("tool_1", True, True)
    assert {".".join(one.path) for one in plan.differences} == {
        "tools.request_advisor.expects_response",
        "tools.request_advisor.response_timeout_secs",
        "tools.request_advisor.parameters.properties",
        "tools.request_advisor.parameters.required",
    }
    assert plan.config["description"] == "Mi texto."
    assert plan.config["parameters"]["required"] == ["urgency", "reason"]
    assert set(plan.config["parameters"]["properties"]) == {"urgency", "reason", "advisor", "topic"}
    again = plan_tool(ADVISOR, [KnownTool(id="tool_1", config=plan.config)], ["tool_1"])
    assert (again.is_written, again.differences) == (False, ())


@given(st.dictionaries(st.sampled_from(sorted(ADVISOR.config)), JSON), st.sampled_from(WANTED_TOOLS))
def test_any_tool_of_the_agents_becomes_one_of_ours(changes: dict[str, Any], wanted: WantedTool) -> None:
    has = KnownTool(id="t", config={**wanted.config, **changes, "name": wanted.name, "type": "client"})
    plan = plan_tool(wanted, [has], ["t"])
    assert plan_tool(wanted, [KnownTool(id="t", config=plan.config)], ["t"]).differences == ()


def test_no_limit_is_time_enough() -> None:
    assert plan_tool(ADVISOR, [tool(ADVISOR, response_timeout_secs=-1)], ["tool_1"]).differences == ()


def test_a_tool_of_another_kind_under_that_name_is_the_operators_to_rename() -> None:
    plan = plan_tool(ADVISOR, [tool(ADVISOR, type="webhook")], ["tool_1"])

    assert (plan.is_written, plan.is_attached, plan.tool_id) == (False, True, "tool_1")
    assert [one.is_by_hand for one in plan.differences] == [True]


def test_of_tools_that_the_agent_has_not_only_one_that_fits_is_taken() -> None:
    others = tool(ADVISOR, "tool_others", expects_response=False)
    longer = KnownTool(id="tool_2", config={**ADVISOR.config, "name": "request_advisor_now"})
    hook = tool(ADVISOR, "tool_hook", type="webhook")
    ours = tool(ADVISOR, "tool_ours")

    made = plan_tool(ADVISOR, [others, longer, hook], [])
    taken = plan_tool(ADVISOR, [others, longer, hook, ours], [])

    assert (made.tool_id, made.is_written) == (None, True)
    assert (taken.tool_id, taken.is_written) == ("tool_ours", False)
