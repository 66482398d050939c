"""`relevo agent apply`: the settings of the agents, the number and the TwiML App, written."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio
from attrs import define, field, frozen

from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.adapters import open_elevenlabs
from daemon.cli.failure import CommandFailedError
from daemon.cli.options import config_option, settings_for
from daemon.cli.screen import printable
from daemon.elevenlabs.agent_documents import AgentDocuments
from daemon.settings import Settings
from daemon.twilio import account_settings as twilio_settings
from daemon.twilio.account_settings import TwilioAccount, application_differences, number_differences
from daemon.vendor_settings import (
    AgentToSet,
    AnyDifference,
    agents_of,
    missing_for_twilio,
    open_account,
    told,
)

NEEDS: Final = ("ELEVENLABS_API_KEY", "elevenlabs.text_agent_id")


@click.command()
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what would be written, and write nothing. Exit code 0 when nothing is to do, 1 when something is.",
)
@config_option
def apply(config_path: Path | None, *, dry_run: bool) -> None:
    """Set the agents at ElevenLabs as this daemon needs them, and at Twilio the voice number and the TwiML App.

    Prints each setting that is different, what it is and what it becomes. What an agent has beyond that stays, and its
    prompt, voice, language model and first message are never touched. Safe to repeat. Twilio's side is set where
    twilio.voice_number or twilio.twiml_app_sid is: calls to that number then come to this daemon, whatever answered them
    before.
    """
    settings = settings_for(config_path, require=NEEDS)
    trio.run(_apply, settings, dry_run)


async def _apply(settings: Settings, dry_run: bool) -> None:  # noqa: FBT001 - trio.run passes by position
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_elevenlabs(settings))
        work = _Work(settings, AgentDocuments(api))
        if not missing_for_twilio(settings):
            work.account = await stack.enter_async_context(open_account(settings))
        await work.look()
        if not dry_run:
            await work.write()
    work.conclude(is_written=not dry_run)


@frozen(kw_only=True)
class _Subject:
    """An agent, a number or an app. `write` gives what the vendor did not take over."""

    title: str
    found: Sequence[AnyDifference]
    write: Callable[[], Awaitable[Sequence[AnyDifference]]]

    @property
    def to_write(self) -> int:
        return sum(not difference.is_by_hand for difference in self.found)


@define(eq=False)
class _Work:
    """One run. What fails is told at the end and keeps nothing else from being done.

    Attributes:
        account: None where Twilio's side is left out.
    """

    _settings: Settings
    _documents: AgentDocuments
    account: TwilioAccount | None = field(default=None, init=False)
    _subjects: list[_Subject] = field(factory=list, init=False)
    _failures: list[str] = field(factory=list, init=False)
    _written: int = field(default=0, init=False)

    async def look(self) -> None:
        """Read everything there is, and show it."""
        for agent in agents_of(self._settings):
            await self._look_at(f"{agent.role.value} agent {agent.agent_id}", partial(self._agent, agent))
        for subject in self._subjects_at_twilio():
            await self._look_at(*subject)

    async def write(self) -> None:
        for subject in self._subjects:
            if not subject.to_write:
                continue
            try:
                untaken = await subject.write()
            except (VendorRefusedError, VendorUnavailableError) as error:
                self._failures.append(f"{subject.title} was not set: {error}")
                continue
            self._written += subject.to_write - len(untaken)
            click.echo(f"{subject.title}: written")
            self._failures += [
                f"{subject.title}: {'.'.join(difference.path)} is the same as before, although nothing was refused"
                for difference in untaken
            ]

    def conclude(self, *, is_written: bool) -> None:
        """The last line, and the exit code.

        Raises:
            CommandFailedError: something failed, or is still to be written.
        """
        if self._failures:
            raise CommandFailedError(printable("; ".join(self._failures)))
        waiting = sum(subject.to_write for subject in self._subjects) - self._written
        if waiting and not is_written:
            raise CommandFailedError(f"{waiting} setting(s) to be written; run it without --dry-run")
        click.echo(f"{self._written} setting(s) written" if self._written else "nothing to write")

    async def _look_at(self, title: str, read: Callable[[str], Awaitable[_Subject]]) -> None:
        try:
            subject = await read(title)
        except (VendorRefusedError, VendorUnavailableError) as error:
            self._failures.append(f"{title} could not be read: {error}")
            return
        self._subjects.append(subject)
        _show(subject)

    async def _agent(self, agent: AgentToSet, title: str) -> _Subject:
        plan = await self._documents.plan(agent.agent_id, agent.role)
        if plan is None:
            raise VendorRefusedError(f"there is no such agent at ElevenLabs (see {agent.key})")

        async def write() -> Sequence[AnyDifference]:
            # Read again: one agent may have both roles, and the first has just been written.
            now = await self._documents.plan(agent.agent_id, agent.role)
            return await self._documents.write(now or plan)

        return _Subject(title=title, found=plan.found, write=write)

    def _subjects_at_twilio(self) -> Sequence[tuple[str, Callable[[str], Awaitable[_Subject]]]]:
        twilio = self._settings.twilio
        if not (twilio.voice_number or twilio.twiml_app_sid):
            return []
        if self.account is None:
            missing = ", ".join(missing_for_twilio(self._settings))
            click.echo(f"Twilio's side is left out, since these are not set: {missing}")
            return []
        wanted: list[tuple[str, Callable[[str], Awaitable[_Subject]]]] = []
        if twilio.voice_number:
            wanted.append(("the number twilio.voice_number", partial(self._number, self.account)))
        if twilio.twiml_app_sid:
            title = f"the TwiML App {twilio.twiml_app_sid}"
            wanted.append((title, partial(self._application, self.account)))
        return wanted

    async def _number(self, account: TwilioAccount, title: str) -> _Subject:
        number = await account.number(self._settings.twilio.voice_number)
        if number is None:
            raise VendorRefusedError("it is no number of this Twilio account")
        found = number_differences(number, public_url=self._settings.http.public_url)
        return _Subject(title=title, found=found, write=partial(account.change_number, number, found))

    async def _application(self, account: TwilioAccount, title: str) -> _Subject:
        application = await account.application(self._settings.twilio.twiml_app_sid)
        if application is None:
            raise VendorRefusedError("it is no TwiML App of this Twilio account")
        found = application_differences(application, public_url=self._settings.http.public_url)
        write = partial(account.change_application, application, found)
        return _Subject(title=title, found=found, write=write)


def _show(subject: _Subject) -> None:
    if not subject.found:
        click.echo(f"{subject.title}: as it should be")
        return
    click.echo(click.style(subject.title, bold=True))
    for difference in subject.found:
        has, wants = told(difference)
        click.echo(printable(f"  {'.'.join(difference.path)}"))
        click.echo(printable(f"    from       {has}"))
        click.echo(printable(f"    {'by hand to' if difference.is_by_hand else 'to        '} {wants}"))
        click.echo(f"    otherwise  {difference.why}")
        if isinstance(difference, twilio_settings.Difference) and difference.is_taken_over:
            loud = "!!! something else is served there now, and will be no more"
            click.echo("    " + click.style(loud, fg="yellow", bold=True))
