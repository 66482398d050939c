"""The two simulators as servers on loopback."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio
from attrs import frozen
from quart_trio import QuartTrio

from daemon.httpserver import Address, HttpServer, ServerLimits
from daemon.lab.elevenlabs.app import ElevenLabsLab
from daemon.lab.elevenlabs.receptionist import ReceptionistBrain
from daemon.lab.sample_agents import CLIENT_TOOLS, text_agent, voice_agent
from daemon.lab.spoken import Spoken
from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.whatsapp.templates import Template

HOST = "127.0.0.1"
# A simulator is made to be pushed: more connections than a daemon takes, and nobody is cut off for thinking.
LIMITS = ServerLimits(connections_max=20_000, backlog=4096, head_timeout_s=60.0, drain_s=0.2)

OPENING_TEMPLATE = (
    "¡Hola, {{1}}! Hace un momento hablamos por teléfono. {{2}} ¿Le parece si seguimos por aquí?"
)
REOPEN_TEMPLATE = "Hola, {{1}}. Tengo una respuesta para usted. ¿Seguimos por aquí?"
MESSAGE_TEMPLATE = "{{1}} le dejó un mensaje de voz. Puede oírlo aquí: {{2}}"


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
    voice_number: str = "+525550000000"
    twiml_app_sid: str = "AP" + "2cd3" * 8
    opening_template_sid: str = "HX" + "0be1" * 8
    reopen_template_sid: str = "HX" + "1be2" * 8
    message_template_sid: str = "HX" + "2be3" * 8
    tool_token: str = "lab-tool-token-of-relevo"  # noqa: S105

    def environment(self, *, elevenlabs_url: str, twilio_url: str) -> Mapping[str, str]:
        """The variables with which `relevo run` uses a lab at these origins; public URL, admin token and database are
        not among them.
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
            "TWILIO_NUMBER": self.voice_number,
            "TWILIO_TWIML_APP_SID": self.twiml_app_sid,
            "RELEVO_TOOL_TOKEN": self.tool_token,
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

    `public_url` is where the daemon is called; without it no webhooks go out and nobody can be called until the control
    routes say where. What is said on the telephones of the one is understood by the agents of the other.
    Without `sends_post_call_webhooks` finished calls have to be polled for.

    Raises:
        CannotListenError: a port is in use.
    """
    account = account or LabAccount()
    spoken = Spoken()
    webhook_url = f"{public_url}/api/webhook/elevenlabs" if sends_post_call_webhooks else None
    elevenlabs = _elevenlabs(account, spoken, webhook_url if public_url is not None else None, seed)
    twilio = _twilio(account, spoken, public_url, seed)
    elevenlabs.world.on_agent_speaks = twilio.voice.agent_speaks
    elevenlabs.world.on_agent_said = twilio.voice.agent_said
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


def _elevenlabs(account: LabAccount, spoken: Spoken, webhook_url: str | None, seed: int) -> ElevenLabsLab:
    lab = ElevenLabsLab(
        api_key=account.api_key,
        seed=seed,
        webhook_url=webhook_url,
        webhook_secret=account.webhook_secret if webhook_url is not None else None,
        voice_brain=ReceptionistBrain(),
        spoken=spoken,
    )
    tool_ids = [lab.world.add_tool(config).id for config in CLIENT_TOOLS]
    lab.world.add_agent(text_agent(), agent_id=account.text_agent_id)
    lab.world.add_agent(voice_agent(tool_ids), agent_id=account.voice_agent_id)
    return lab


def _twilio(account: LabAccount, spoken: Spoken, public_url: str | None, seed: int) -> TwilioLab:
    numbers, applications = [], []
    if public_url is not None:
        numbers.append(
            IncomingNumber(
                phone_number=account.voice_number,
                voice_url=f"{public_url}/voice/incoming",
                status_callback=f"{public_url}/voice/status",
            )
        )
        applications.append(Application(sid=account.twiml_app_sid, voice_url=f"{public_url}/voice/agent"))
    return TwilioLab(
        account_sid=account.account_sid,
        auth_token=account.auth_token,
        senders=[account.whatsapp_from],
        incoming_url=f"{public_url}/api/webhook/twilio/incoming" if public_url is not None else None,
        seed=seed,
        templates=[
            Template(sid=account.opening_template_sid, body=OPENING_TEMPLATE),
            Template(sid=account.reopen_template_sid, body=REOPEN_TEMPLATE),
            Template(sid=account.message_template_sid, body=MESSAGE_TEMPLATE),
        ],
        numbers=numbers,
        applications=applications,
        spoken=spoken,
    )


async def _serve(
    nursery: trio.Nursery, app: QuartTrio, name: str, port: int, simulator: ElevenLabsLab | TwilioLab
) -> str:
    server = HttpServer(app, name=name, host=HOST, port=port, limits=LIMITS)
    simulator.abort_connection = server.abort
    address: Address = await nursery.start(server.run, name=name)
    return f"http://{address[0]}:{address[1]}"
