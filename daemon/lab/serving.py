"""The two simulators as servers on loopback."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio
from attrs import frozen
from quart_trio import QuartTrio

from daemon.httpserver import Address, HttpServer, ServerLimits
from daemon.lab.elevenlabs.app import ElevenLabsLab
from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.whatsapp.templates import Template

HOST = "127.0.0.1"
# A simulator is made to be pushed: more connections than a daemon takes, and nobody is cut off for thinking.
LIMITS = ServerLimits(connections_max=20_000, backlog=4096, head_timeout_s=60.0, drain_s=0.2)

OPENING_TEMPLATE = "¡Hola, {{1}}! Hace un momento hablamos de: {{2}} ¿Le parece si seguimos por aquí?"

_CLIENT_EVENTS = [
    "conversation_initiation_metadata",
    "ping",
    "agent_response",
    "agent_response_correction",
    "agent_chat_response_part",
    "agent_response_complete",
    "client_tool_call",
    "agent_tool_response",
]
_TEXT_AGENT = {
    "name": "Seguimiento por WhatsApp",
    "conversation_config": {
        "agent": {
            "first_message": "",
            "language": "es",
            "prompt": {"prompt": "Sigues por WhatsApp una conversación telefónica. {{call_summary}}"},
            "dynamic_variables": {"dynamic_variable_placeholders": {"call_summary": "", "customer_name": ""}},
        },
        "turn": {"turn_timeout": -1},
        "conversation": {"text_only": True, "max_duration_seconds": 3600, "client_events": _CLIENT_EVENTS},
        "tts": {"model_id": "eleven_turbo_v2_5"},
    },
    "platform_settings": {
        "overrides": {
            "conversation_config_override": {
                "agent": {"first_message": True, "language": True},
                "conversation": {"text_only": True},
            }
        }
    },
}
_VOICE_AGENT = {
    "name": "Ventas por teléfono",
    "conversation_config": {
        "agent": {"first_message": "Hola, ¿hablo con {{name}}?", "language": "es"},
        "tts": {"model_id": "eleven_turbo_v2_5"},
    },
}


@frozen(kw_only=True)
class LabAccount:
    """What a daemon is told so that it takes the simulators for the vendors. None of it is a secret."""

    api_key: str = "lab-elevenlabs-api-key"
    webhook_secret: str = "lab-elevenlabs-webhook-secret"  # noqa: S105
    account_sid: str = "AC" + "1ab0" * 8
    auth_token: str = "lab-twilio-auth-token"  # noqa: S105
    whatsapp_from: str = "+14155238886"
    text_agent_id: str = "agent_lab_whatsapp"
    voice_agent_id: str = "agent_lab_voice"
    opening_template_sid: str = "HX" + "0be1" * 8

    def environment(self, *, elevenlabs_url: str, twilio_url: str) -> Mapping[str, str]:
        """The variables with which `relevo run` uses a lab at these origins; public URL, tokens and database are not
        among them.
        """
        return {
            "ELEVENLABS_BASE_URL": elevenlabs_url,
            "ELEVENLABS_API_KEY": self.api_key,
            "ELEVENLABS_WEBHOOK_SECRET": self.webhook_secret,
            "ELEVENLABS_AGENT_ID": self.voice_agent_id,
            "DEFAULT_AGENT_ID": self.text_agent_id,
            "TWILIO_BASE_URL": twilio_url,
            "TWILIO_ACCOUNT_SID": self.account_sid,
            "TWILIO_AUTH_TOKEN": self.auth_token,
            "TWILIO_WHATSAPP_FROM": self.whatsapp_from,
        }


@frozen(kw_only=True)
class Lab:
    """Both simulators, serving. `elevenlabs_url` and `twilio_url` are their origins."""

    account: LabAccount
    elevenlabs: ElevenLabsLab
    twilio: TwilioLab
    elevenlabs_url: str
    twilio_url: str

    def environment(self) -> Mapping[str, str]:
        """See `LabAccount.environment`."""
        return self.account.environment(elevenlabs_url=self.elevenlabs_url, twilio_url=self.twilio_url)


@asynccontextmanager
async def open_lab(
    *,
    public_url: str | None,
    account: LabAccount | None = None,
    elevenlabs_port: int = 0,
    twilio_port: int = 0,
    seed: int = 0,
    sends_post_call_webhooks: bool = True,
) -> AsyncIterator[Lab]:
    """Serve both simulators while the block runs.

    `public_url` is where the daemon is called; without it no webhooks go out until the control routes say where.
    Without `sends_post_call_webhooks` finished calls have to be polled for.

    Raises:
        CannotListenError: a port is in use.
    """
    account = account or LabAccount()
    with_webhooks = public_url is not None and sends_post_call_webhooks
    elevenlabs = ElevenLabsLab(
        api_key=account.api_key,
        seed=seed,
        webhook_url=f"{public_url}/api/webhook/elevenlabs" if with_webhooks else None,
        webhook_secret=account.webhook_secret if with_webhooks else None,
    )
    elevenlabs.world.add_agent(_TEXT_AGENT, agent_id=account.text_agent_id)
    elevenlabs.world.add_agent(_VOICE_AGENT, agent_id=account.voice_agent_id)
    twilio = TwilioLab(
        account_sid=account.account_sid,
        auth_token=account.auth_token,
        senders=[account.whatsapp_from],
        incoming_url=f"{public_url}/api/webhook/twilio/incoming" if public_url is not None else None,
        seed=seed,
        templates=[Template(sid=account.opening_template_sid, body=OPENING_TEMPLATE)],
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(elevenlabs.run, name="elevenlabs lab")
        await nursery.start(twilio.run, name="twilio lab")
        first = await _serve(nursery, elevenlabs.app, "elevenlabs lab", elevenlabs_port, elevenlabs)
        second = await _serve(nursery, twilio.app, "twilio lab", twilio_port, twilio)
        twilio.public_url = second
        yield Lab(
            account=account, elevenlabs=elevenlabs, twilio=twilio, elevenlabs_url=first, twilio_url=second
        )
        nursery.cancel_scope.cancel(reason="lab closed")


async def _serve(
    nursery: trio.Nursery, app: QuartTrio, name: str, port: int, simulator: ElevenLabsLab | TwilioLab
) -> str:
    server = HttpServer(app, name=name, host=HOST, port=port, limits=LIMITS)
    simulator.abort_connection = server.abort
    address: Address = await nursery.start(server.run, name=name)
    return f"http://{address[0]}:{address[1]}"
