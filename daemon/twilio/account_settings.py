"""What a Twilio account must be set to, so that calls and messages come to this daemon: read, compared, written.

Source: Twilio OpenAPI, api_v2010 (Account, IncomingPhoneNumber, Application) and messaging_v2 (ChannelsSender).
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field, frozen
from twilio.base.exceptions import TwilioException, TwilioRestException  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from actors.live_call import paths
from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.twilio.problems import NO_SUCH_RESOURCE, asking, problem_of
from daemon.twilio.transport import TransportError

FALLBACK_TWIML: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<Response>
  <Say language="es-MX" voice="Polly.Mia">En este momento no podemos atender su llamada. \
Por favor, llame de nuevo en unos minutos.</Say>
  <Hangup/>
</Response>
"""
"""For a number's fallback, kept at Twilio: what a caller hears when this daemon does not answer, in place of Twilio's
error voice.
"""

# What a number is bought with.
_TWILIOS_DEMO: Final = "demo.twilio.com"
_POST: Final = "POST"
_PAGE: Final = 50
_SENDERS_MAX: Final = 200
# A sender that is being changed goes on sending.
_SENDING: Final = frozenset({"ONLINE", "ONLINE:UPDATING"})


@frozen(kw_only=True)
class Difference:
    """A setting that is not as it should be.

    Attributes:
        path: one name, as REST has it.
        has: None where there is nothing.
        why: what happens otherwise.
        is_vital: no call comes about.
        is_by_hand: for the operator to mend; what to do stands in `wants`.
        is_taken_over: something else than this daemon is served by it now, and will be no more.
    """

    path: tuple[str, ...]
    has: Any
    wants: Any
    why: str
    is_vital: bool = False
    is_by_hand: bool = False
    is_taken_over: bool = False


@frozen(kw_only=True)
class Resource:
    """A number or a TwiML App; `settings` by the names of REST."""

    sid: str
    settings: Mapping[str, Any]


@frozen(kw_only=True)
class Sender:
    """A WhatsApp sender.

    Attributes:
        status: `ONLINE`, or why not in one word.
        reasons: why it is offline.
        webhook_url: where its messages go; None where that is its Messaging Service's business, or nobody's.
    """

    status: str
    reasons: Sequence[str] = ()
    webhook_url: str | None = None

    @property
    def is_sending(self) -> bool:
        return self.status in _SENDING


@frozen(kw_only=True)
class AccountState:
    """`status` is `active`, `suspended` or `closed`; a trial account reaches verified numbers alone."""

    status: str
    is_trial: bool


# --- What should be -------------------------------------------------------------------------------------


def number_differences(number: Resource, *, public_url: str) -> Sequence[Difference]:
    """Whether a call to the number comes to the daemon at `public_url`, and what happens when it does not answer."""
    has = number.settings
    found = [
        _url(has, "voice_url", public_url + paths.INCOMING, "calls do not come to this daemon"),
        _post(has, "voice_method", "calls come in a way that this daemon does not take"),
        _url(
            has, "status_callback", public_url + paths.NUMBER_STATUS, "the end of a call may be noticed late"
        ),
        _post(
            has, "status_callback_method", "the end of a call is told in a way that this daemon does not take"
        ),
        *_instead_of_voice_url(has),
        _fallback(has.get("voice_fallback_url") or "", public_url),
    ]
    return [difference for difference in found if difference is not None]


def application_differences(application: Resource, *, public_url: str) -> Sequence[Difference]:
    """Whether the agent's leg of a call comes to the daemon at `public_url`."""
    has = application.settings
    why = "the agent does not come into the call"
    found = [_url(has, "voice_url", public_url + paths.AGENT, why), _post(has, "voice_method", why)]
    return [difference for difference in found if difference is not None]


def _url(has: Mapping[str, Any], name: str, wants: str, why: str) -> Difference | None:
    now = has.get(name) or None
    if now == wants:
        return None
    return Difference(
        path=(name,),
        has=now,
        wants=wants,
        why=why,
        is_vital=name == "voice_url",
        is_taken_over=now is not None and _host(now) not in {_host(wants), _TWILIOS_DEMO},
    )


def _post(has: Mapping[str, Any], name: str, why: str) -> Difference | None:
    # Twilio's own default is POST.
    now = has.get(name)
    if now in {None, "", _POST}:
        return None
    return Difference(path=(name,), has=now, wants=_POST, why=why, is_vital=name == "voice_method")


def _instead_of_voice_url(has: Mapping[str, Any]) -> Sequence[Difference]:
    """Either makes Twilio ignore every voice URL of the number (Twilio docs: phone-numbers/api)."""
    found = []
    if has.get("trunk_sid"):
        found.append(
            Difference(
                path=("trunk_sid",),
                has=has["trunk_sid"],
                wants="no trunk: take the number off it in the Twilio console",
                why="calls go to the SIP trunk, whatever the Voice URL is",
                is_vital=True,
                is_by_hand=True,
            )
        )
    if has.get("voice_application_sid"):
        found.append(
            Difference(
                path=("voice_application_sid",),
                has=has["voice_application_sid"],
                wants="",
                why="calls go to that TwiML App, whatever the Voice URL is",
                is_vital=True,
                is_taken_over=True,
            )
        )
    return found


def _fallback(url: str, public_url: str) -> Difference | None:
    """Where calls go when the Voice URL does not answer, which must not be where it does not answer either."""
    if url and _host(url) != _host(public_url):
        return None
    return Difference(
        path=("voice_fallback_url",),
        has=url or None,
        wants="the URL of a TwiML Bin with the fallback document (docs/live-call.md)",
        why="while this daemon does not answer, callers hear Twilio's error voice",
        is_by_hand=True,
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


# --- The account ----------------------------------------------------------------------------------------


@define(eq=False)
class TwilioAccount:
    """The account over REST. Every method raises what the ports call a vendor that does not answer or refuses:
    `VendorUnavailableError`, `VendorRefusedError`.
    """

    _client: Client = field(repr=False)

    async def state(self) -> AccountState:
        with asking("the account"):
            account = await self._client.api.v2010.account.fetch_async()
        return AccountState(status=str(account.status), is_trial=account.type == "Trial")

    async def number(self, phone_number: str) -> Resource | None:
        """One of the account's numbers, in E.164; None for somebody else's."""
        with asking("the account's numbers"):
            # The filter finds every number that has these digits somewhere.
            listed = await self._client.incoming_phone_numbers.list_async(
                phone_number=phone_number, limit=_PAGE
            )
        found = next((number for number in listed if number.phone_number == phone_number), None)
        return None if found is None else _resource(found, _NUMBER_SETTINGS)

    async def application(self, sid: str) -> Resource | None:
        with asking("the TwiML App"):
            try:
                found = await self._client.applications(sid).fetch_async()
            except TwilioException as error:
                if isinstance(error, TwilioRestException) and error.code == NO_SUCH_RESOURCE:
                    return None
                raise
        return _resource(found, _APPLICATION_SETTINGS)

    async def whatsapp_sender(self, phone_number: str) -> Sender | None:
        """A sender among the account's first 200; None for one that is not listed."""
        with asking("the WhatsApp senders"):
            listed = await self._client.messaging.v2.channels_senders.list_async(
                channel="whatsapp", limit=_SENDERS_MAX, page_size=_PAGE
            )
        address = f"whatsapp:{phone_number}"
        found = next((sender for sender in listed if sender.sender_id == address), None)
        if found is None:
            return None
        webhook = found.webhook if isinstance(found.webhook, dict) else {}
        reasons = found.offline_reasons if isinstance(found.offline_reasons, list) else []
        return Sender(
            status=str(found.status),
            reasons=[
                f"{reason.get('message')} ({reason.get('code')})"
                for reason in reasons
                if isinstance(reason, dict)
            ],
            webhook_url=webhook.get("callback_url") or None,
        )

    async def change_number(self, number: Resource, found: Collection[Difference]) -> Sequence[Difference]:
        """Write what is not for the operator's hands. Gives what Twilio did not take over although it did not refuse
        it. May be done twice.
        """
        values = _values(found)
        with _changing("the number"):
            after = await self._client.incoming_phone_numbers(number.sid).update_async(**values)
        return _untaken(found, _resource(after, _NUMBER_SETTINGS))

    async def change_application(
        self, application: Resource, found: Collection[Difference]
    ) -> Sequence[Difference]:
        """As `change_number`."""
        values = _values(found)
        with _changing("the TwiML App"):
            after = await self._client.applications(application.sid).update_async(**values)
        return _untaken(found, _resource(after, _APPLICATION_SETTINGS))


@contextmanager
def _changing(what: str) -> Iterator[None]:
    """As `asking`, for a request that changes something."""
    try:
        yield
    except (TransportError, json.JSONDecodeError) as error:
        raise VendorUnavailableError(f"{what} may not have been changed: {error}".rstrip(": ")) from error
    except TwilioException as error:
        problem = problem_of(error)
        sentence = f"{what} was not changed: HTTP {problem.status}, {problem}"
        if problem.is_inside_twilio:
            raise VendorUnavailableError(sentence) from error
        raise VendorRefusedError(sentence, status=problem.status) from error


_APPLICATION_SETTINGS: Final = ("voice_url", "voice_method")
_NUMBER_SETTINGS: Final = (
    *_APPLICATION_SETTINGS,
    "status_callback",
    "status_callback_method",
    "voice_application_sid",
    "trunk_sid",
    "voice_fallback_url",
)


def _resource(record: Any, names: Sequence[str]) -> Resource:
    return Resource(sid=str(record.sid), settings={name: getattr(record, name) for name in names})


def _values(found: Collection[Difference]) -> Mapping[str, Any]:
    return {one.path[0]: one.wants for one in found if not one.is_by_hand}


def _untaken(found: Collection[Difference], after: Resource) -> Sequence[Difference]:
    return [
        one for one in found if not one.is_by_hand and (after.settings.get(one.path[0]) or "") != one.wants
    ]
