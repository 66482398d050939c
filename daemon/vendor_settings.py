"""What the vendors must be set to by these settings: whom to ask for it, and how a difference is told."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from attrs import frozen

from daemon.elevenlabs.agent_settings import Role
from daemon.settings import Settings
from daemon.settings.environment import named_secrets
from daemon.twilio.account_settings import TwilioAccount
from daemon.twilio.transport import Limits, open_transport, sdk_client

_SHOWN_MAX_CHARACTERS: Final = 120

NEEDED_OF_TWILIO: Final = ("http.public_url", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN")
"""Without these nobody can say what Twilio should be set to, or ask."""


class AnyDifference(Protocol):
    """A vendor's setting that is not as it should be; see `daemon.elevenlabs.setting_rules` for the attributes."""

    @property
    def path(self) -> Sequence[str]: ...
    @property
    def has(self) -> Any: ...
    @property
    def wants(self) -> Any: ...
    @property
    def why(self) -> str: ...
    @property
    def is_vital(self) -> bool: ...
    @property
    def is_by_hand(self) -> bool: ...


@frozen(kw_only=True)
class AgentToSet:
    """An agent that this daemon opens sessions with. `key` is the setting that names it."""

    key: str
    agent_id: str
    role: Role


def agents_of(settings: Settings) -> Sequence[AgentToSet]:
    """Every agent once in each of its roles."""
    elevenlabs = settings.elevenlabs
    named = [
        ("elevenlabs.text_agent_id", elevenlabs.text_agent_id, Role.TEXT),
        *(("elevenlabs.text_agents", agent_id, Role.TEXT) for agent_id in elevenlabs.text_agents.values()),
        ("elevenlabs.voice_agent_id", elevenlabs.voice_agent_id, Role.VOICE),
    ]
    unique = {(agent_id, role): key for key, agent_id, role in reversed(named) if agent_id}
    return [AgentToSet(key=key, agent_id=agent_id, role=role) for (agent_id, role), key in unique.items()][
        ::-1
    ]


def missing_for_twilio(settings: Settings) -> Sequence[str]:
    """What of `NEEDED_OF_TWILIO` is not set."""
    given = {"http.public_url": settings.http.public_url, **named_secrets(settings.secrets)}
    return [name for name in NEEDED_OF_TWILIO if not given[name]]


@asynccontextmanager
async def open_account(settings: Settings) -> AsyncIterator[TwilioAccount]:
    async with open_transport(Limits(deadline_s=settings.twilio.request_timeout_s)) as transport:
        yield TwilioAccount(
            sdk_client(
                transport,
                account_sid=settings.secrets.twilio_account_sid,
                auth_token=settings.secrets.twilio_auth_token,
                base_url=settings.twilio.base_url,
            )
        )


def told(difference: AnyDifference) -> tuple[str, str]:
    """What a setting is and what it should be, each on one line. Of lists and objects that grow, only the names."""
    has, wants = difference.has, difference.wants
    if difference.is_by_hand:
        return _value(has), str(wants)
    if isinstance(wants, list) and isinstance(has, list | None):
        return _growth(has or [], wants)
    if isinstance(wants, Mapping) and isinstance(has, Mapping):
        return _growth(list(has), list(wants))
    return _value(has), _value(wants)


def _growth(has: Sequence[Any], wants: Sequence[Any]) -> tuple[str, str]:
    added = ", ".join(str(name) for name in wants if name not in has)
    if not has:
        return "nothing", added
    return _clipped(", ".join(map(str, has))), f"the same and {added}"


def _value(value: Any) -> str:
    match value:
        case None:
            return "not set"
        case "":
            return "nothing"
        case str():
            return _clipped(value)
        case _:
            return _clipped(json.dumps(value, ensure_ascii=False))


def _clipped(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX_CHARACTERS else text[: _SHOWN_MAX_CHARACTERS - 1] + "…"
