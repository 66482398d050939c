"""The one Twilio account that the simulator holds."""

from collections.abc import Iterable, Sequence

from attrs import define, field

from daemon.lab.twilio.sids import new_sid


def whatsapp_address(key: str) -> str:
    """The address of a number or of a WhatsApp user id, as Twilio writes it."""
    return key if key.startswith("whatsapp:") else f"whatsapp:{key}"


def _addresses(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(whatsapp_address(key) for key in keys)


def address_key(address: str) -> str:
    return address.removeprefix("whatsapp:")


@define(eq=False, kw_only=True)
class IncomingNumber:
    """A telephone number of the account and where its calls go."""

    phone_number: str
    voice_url: str | None = None
    voice_method: str = "POST"
    voice_fallback_url: str | None = None
    voice_fallback_method: str = "POST"
    status_callback: str | None = None
    status_callback_method: str = "POST"
    friendly_name: str | None = None
    sid: str = field(factory=lambda: new_sid("PN"))


@define(eq=False, kw_only=True)
class Application:
    """A TwiML App."""

    friendly_name: str = "relevo"
    voice_url: str | None = None
    voice_method: str = "POST"
    voice_fallback_url: str | None = None
    voice_fallback_method: str = "POST"
    sid: str = field(factory=lambda: new_sid("AP"))


@define(eq=False, kw_only=True)
class IncomingWebhook:
    """Where inbound messages go; a URL may carry connection overrides in its fragment.

    Attributes:
        url: None switches the webhook off.
        fallback_url: asked, with `ErrorCode` and `ErrorUrl`, when `url` failed.
    """

    url: str | None = None
    method: str = "POST"
    fallback_url: str | None = None


@define(eq=False, kw_only=True)
class Account:
    """Who the customer of Twilio is and what he has configured.

    Attributes:
        senders: the WhatsApp senders' addresses, `whatsapp:+…`.
        messaging_service_sid: the one Messaging Service, which holds all senders.
        public_url: the origin under which media URLs are given out; whoever binds the app's port sets it.
    """

    sid: str
    auth_token: str = field(repr=False)
    senders: tuple[str, ...] = field(converter=_addresses)
    incoming: IncomingWebhook = field(factory=IncomingWebhook)
    messaging_service_sid: str | None = None
    numbers: Sequence[IncomingNumber] = ()
    applications: Sequence[Application] = ()
    public_url: str = "https://api.twilio.com"

    def target(self, address: str) -> IncomingNumber | Application | None:
        """What of the account a call to an address (`app:AP…`, a number) runs into."""
        if address.startswith("app:"):
            sid = address.removeprefix("app:")
            return next((app for app in self.applications if app.sid == sid), None)
        return next((number for number in self.numbers if number.phone_number == address), None)
