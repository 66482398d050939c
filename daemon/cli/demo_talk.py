"""The demo's conversation: one caller, one chat, played or typed."""

import sys
from datetime import datetime

import click
import trio
from attrs import define, field, frozen

from actors.overview import Interaction, InteractionType
from daemon.cli.failure import CommandFailedError
from daemon.lab.serving import Lab
from daemon.lab.twilio.whatsapp.messages import Message
from daemon.lab.twilio.whatsapp.people import Person
from daemon.settings import Settings
from daemon.status import DaemonStatus

CUSTOMER = "+573138539155"
NAME = "Alejandro"
LINES = (
    "Hola, sí, soy Alejandro. ¿Me recuerda cuánto cuesta?",
    "¿Y cuándo me lo entregan?",
    "Perfecto, muchas gracias. Hasta luego.",
)
ANSWER_TIMEOUT_S = 30.0


@frozen(kw_only=True)
class Stage:
    """Everything that runs, and where to look at it."""

    lab: Lab
    status: DaemonStatus
    settings: Settings
    admin: tuple[str, int]

    def introduce(self) -> None:
        host, port = self.admin
        token = self.settings.secrets.admin_token
        click.echo(f"  admin page     http://{host}:{port}/admin   token: {token}")
        click.echo("  status         ", nl=False)
        click.echo(f"curl -H 'Authorization: Bearer {token}' http://{host}:{port}/admin/status")
        click.echo(f"  ElevenLabs lab {self.lab.elevenlabs_url}/lab")
        click.echo(f"  Twilio lab     {self.lab.twilio_url}/lab")
        click.echo()


@define
class Talk:
    """The chat as the customer's telephone shows it."""

    stage: Stage
    written: list[str] = field(factory=list, init=False)
    received: list[Message] = field(factory=list, init=False)

    async def begin(self) -> None:
        """The call happens and ends, and its opening arrives."""
        self.stage.lab.twilio.on_message(self._show)
        click.echo(click.style(f"☎  An agent calls {NAME} about «Software IA» …", dim=True))
        self.stage.lab.elevenlabs.batches.submit(
            {
                "call_name": "demo",
                "agent_id": self.stage.lab.account.voice_agent_id,
                "agent_phone_number_id": "phnum_lab",
                "recipients": [
                    {
                        "id": "demo-1",
                        "phone_number": CUSTOMER,
                        "conversation_initiation_client_data": {
                            "dynamic_variables": {"name": NAME, "product": "Software IA"}
                        },
                    }
                ],
            }
        )
        await self.answered(1)

    def write(self, text: str) -> None:
        self.written.append(text)
        self.stage.lab.twilio.write(CUSTOMER, text, profile_name=NAME)

    async def answered(self, count: int) -> None:
        """Wait until the telephone has received `count` messages."""
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            await self.stage.lab.twilio.wait_for_message(CUSTOMER, count=count)
            return
        raise CommandFailedError(f"message {count} did not arrive within {ANSWER_TIMEOUT_S:.0f} s")

    def _show(self, _person: Person, message: Message) -> None:
        self.received.append(message)
        click.echo(click.style(f"{_now()}  Agente ", fg="green", bold=True) + message.body)


async def play(talk: Talk) -> None:
    """A whole conversation, each line once the one before is answered."""
    for number, line in enumerate(LINES, start=2):
        click.echo(click.style(f"{_now()}  {NAME} ", fg="cyan", bold=True) + line)
        talk.write(line)
        await talk.answered(number)


async def talk_with_terminal(talk: Talk) -> None:
    """What is typed is what the customer writes, until end of file."""
    click.echo(click.style("Write as the customer; Ctrl-D ends the demo.", dim=True))
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        if line.strip():
            talk.write(line.strip())


async def verify(talk: Talk) -> None:
    """Every message of the chat is stored, in order, and every one of ours delivered.

    Raises:
        CommandFailedError: naming what is missing.
    """
    messages = await _settled_messages(talk)
    inbound = [one.content for one in messages if one.metadata["direction"] == "inbound"]
    outbound = [one for one in messages if one.metadata["direction"] == "outbound"]
    if inbound != talk.written:
        raise CommandFailedError(f"of {len(talk.written)} messages of the customer {len(inbound)} are stored")
    if [one.external_id for one in outbound] != [message.sid for message in talk.received]:
        raise CommandFailedError("what is stored is not what the telephone received")
    if not all(_is_delivered(one) for one in outbound):
        raise CommandFailedError("not every message was reported as delivered")
    click.echo()
    click.echo(f"✓ {len(messages)} messages: all stored in order, all {len(outbound)} of ours delivered")


async def _settled_messages(talk: Talk) -> list[Interaction]:
    """The chat as the database has it, once the last status has come in or time is up."""
    overview = talk.stage.status.overview
    page = await overview.conversations(None, limit=1)
    if not page.conversations:
        raise CommandFailedError("the conversation is not in the database")
    messages: list[Interaction] = []
    with trio.move_on_after(ANSWER_TIMEOUT_S):
        while not messages or not all(_is_delivered(one) for one in messages):
            timeline = await overview.conversation(page.conversations[0].id)
            if timeline is not None:
                messages = [one for one in timeline.interactions if one.type is InteractionType.WHATSAPP]
            await trio.sleep(0.1)
    return messages


def _is_delivered(message: Interaction) -> bool:
    return message.metadata["direction"] == "inbound" or message.metadata["status"] in {"delivered", "read"}


def _now() -> str:
    return f"{datetime.now().astimezone():%H:%M:%S}"
