"""The account, its numbers, its TwiML Apps and its WhatsApp senders, as far as a check of somebody's settings asks for
them, and what may be set.

Twilio OpenAPI: api_v2010; messaging_v2 for the senders.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urldefrag

from attrs import define
from quart import Blueprint, Response

from daemon.lab.twilio.account import Account, Application, IncomingNumber
from daemon.lab.twilio.errors import RestError, not_found
from daemon.lab.twilio.paging import page
from daemon.lab.twilio.rest import Asked, Edge, Reply

# Nothing here has an age of its own.
SINCE: Final = "Wed, 01 Jan 2025 00:00:00 +0000"

VOICE_SETTINGS: Final[Mapping[str, str]] = {
    "VoiceFallbackMethod": "voice_fallback_method",
    "VoiceFallbackUrl": "voice_fallback_url",
    "VoiceMethod": "voice_method",
    "VoiceUrl": "voice_url",
}
NUMBER_SETTINGS: Final[Mapping[str, str]] = {
    **VOICE_SETTINGS,
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
}


@define(eq=False)
class AccountRoutes:
    account: Account

    def fetch(self, asked: Asked) -> Reply:
        return Reply(
            body={
                "auth_token": self.account.auth_token,
                "date_created": SINCE,
                "date_updated": SINCE,
                "friendly_name": "Relevo lab",
                "owner_account_sid": self.account.sid,
                "sid": self.account.sid,
                "status": "active",
                "subresource_uris": {"messages": f"/2010-04-01/Accounts/{self.account.sid}/Messages.json"},
                "type": "Full",
                "uri": asked.path,
            }
        )

    def numbers(self, asked: Asked) -> Reply:
        wanted = asked.query.get("PhoneNumber")
        found = [number for number in self.account.numbers if wanted is None or wanted in number.phone_number]
        return self._page(asked, "incoming_phone_numbers", [self._number(number) for number in found])

    def number(self, asked: Asked, sid: str) -> Reply:
        return Reply(body=self._number(self._own_number(asked, sid)))

    def update_number(self, asked: Asked, sid: str) -> Reply:
        number = self._own_number(asked, sid)
        _change(number, asked, NUMBER_SETTINGS)
        return Reply(body=self._number(number))

    def applications(self, asked: Asked) -> Reply:
        wanted = asked.query.get("FriendlyName")
        found = [app for app in self.account.applications if wanted in {None, app.friendly_name}]
        return self._page(asked, "applications", [self._application(app) for app in found])

    def application(self, asked: Asked, sid: str) -> Reply:
        return Reply(body=self._application(self._own_application(asked, sid)))

    def update_application(self, asked: Asked, sid: str) -> Reply:
        app = self._own_application(asked, sid)
        _change(app, asked, VOICE_SETTINGS)
        return Reply(body=self._application(app))

    def senders(self, asked: Asked) -> Reply:
        """On one page, however many there are."""
        channel = asked.query.get("Channel")
        if channel is None:
            raise RestError(400, 20001, "Channel is required")
        url = f"{self.account.public_url}{asked.path}?PageSize=50&Page=0&Channel={channel}"
        meta = {
            "page": 0,
            "page_size": 50,
            "first_page_url": url,
            "previous_page_url": None,
            "url": url,
            "next_page_url": None,
            "key": "senders",
        }
        listed = self.account.senders if channel == "whatsapp" else ()
        return Reply(body={"senders": [self._sender(address) for address in listed], "meta": meta})

    def _own_application(self, asked: Asked, sid: str) -> Application:
        for app in self.account.applications:
            if app.sid == sid:
                return app
        raise not_found(asked.path)

    def _own_number(self, asked: Asked, sid: str) -> IncomingNumber:
        for number in self.account.numbers:
            if number.sid == sid:
                return number
        raise not_found(asked.path)

    def _page(self, asked: Asked, key: str, resources: Sequence[dict[str, Any]]) -> Reply:
        count = len(resources)
        return page(
            asked,
            key,
            enumerate(resources),
            ordinal=lambda place: count - place[0],
            show=lambda place: place[1],
        )

    def _number(self, number: IncomingNumber) -> dict[str, Any]:
        return {
            **self._common(),
            "address_requirements": "none",
            "address_sid": None,
            "beta": False,
            "bundle_sid": None,
            "capabilities": {"mms": True, "sms": True, "voice": True, "fax": False},
            "emergency_address_sid": None,
            "emergency_address_status": "unregistered",
            "emergency_status": "Inactive",
            "friendly_name": number.friendly_name or number.phone_number,
            "identity_sid": None,
            "origin": "twilio",
            "phone_number": number.phone_number,
            "sid": number.sid,
            "sms_application_sid": None,
            "status": "in-use",
            "status_callback": number.status_callback,
            "status_callback_method": number.status_callback_method,
            "trunk_sid": None,
            "type": None,
            "uri": f"/2010-04-01/Accounts/{self.account.sid}/IncomingPhoneNumbers/{number.sid}.json",
            "voice_application_sid": None,
            "voice_fallback_method": number.voice_fallback_method,
            "voice_fallback_url": number.voice_fallback_url,
            "voice_method": number.voice_method,
            "voice_receive_mode": "voice",
            "voice_url": number.voice_url,
        }

    def _application(self, app: Application) -> dict[str, Any]:
        return {
            **self._common(),
            "friendly_name": app.friendly_name,
            "message_status_callback": None,
            "public_application_connect_enabled": False,
            "sid": app.sid,
            "sms_status_callback": None,
            "status_callback": None,
            "status_callback_method": "POST",
            "uri": f"/2010-04-01/Accounts/{self.account.sid}/Applications/{app.sid}.json",
            "voice_fallback_method": app.voice_fallback_method,
            "voice_fallback_url": app.voice_fallback_url,
            "voice_method": app.voice_method,
            "voice_url": app.voice_url,
        }

    def _sender(self, address: str) -> dict[str, Any]:
        sid = "XE" + hashlib.sha256(address.encode()).hexdigest()[:32]
        incoming = self.account.incoming
        return {
            "sid": sid,
            "status": "ONLINE",
            "sender_id": address,
            "configuration": None,
            "webhook": {
                # Connection overrides are the simulator's own.
                "callback_url": urldefrag(incoming.url).url if incoming.url is not None else None,
                "callback_method": incoming.method,
                "fallback_url": incoming.fallback_url,
                "fallback_method": "POST",
                "status_callback_url": None,
                "status_callback_method": "POST",
            },
            "profile": None,
            "properties": None,
            "offline_reasons": None,
            "compliance": None,
            "url": f"{self.account.public_url}/v2/Channels/Senders/{sid}",
        }

    def _common(self) -> dict[str, Any]:
        return {
            "account_sid": self.account.sid,
            "api_version": "2010-04-01",
            "date_created": SINCE,
            "date_updated": SINCE,
            "sms_fallback_method": "POST",
            "sms_fallback_url": None,
            "sms_method": "POST",
            "sms_url": None,
            "voice_caller_id_lookup": False,
        }


def _change(resource: IncomingNumber | Application, asked: Asked, settings: Mapping[str, str]) -> None:
    resource.friendly_name = asked.form.get("FriendlyName") or resource.friendly_name
    for name, attribute in settings.items():
        value = asked.form.get(name)
        if value is not None:
            setattr(resource, attribute, value or ("POST" if attribute.endswith("_method") else None))


def account_blueprint(edge: Edge, routes: AccountRoutes) -> Blueprint:
    blueprint = Blueprint("account", __name__)
    account = "/2010-04-01/Accounts/<account_sid>"

    @blueprint.get(f"{account}.json")
    async def fetch(account_sid: str) -> Response:
        return await edge.answer("account.fetch", account_sid, routes.fetch)

    @blueprint.get(f"{account}/IncomingPhoneNumbers.json")
    async def numbers(account_sid: str) -> Response:
        return await edge.answer("number.list", account_sid, routes.numbers)

    @blueprint.get(f"{account}/IncomingPhoneNumbers/<sid>.json")
    async def number(account_sid: str, sid: str) -> Response:
        return await edge.answer("number.fetch", account_sid, lambda asked: routes.number(asked, sid))

    @blueprint.post(f"{account}/IncomingPhoneNumbers/<sid>.json")
    async def update_number(account_sid: str, sid: str) -> Response:
        return await edge.answer("number.update", account_sid, lambda asked: routes.update_number(asked, sid))

    @blueprint.get(f"{account}/Applications.json")
    async def applications(account_sid: str) -> Response:
        return await edge.answer("application.list", account_sid, routes.applications)

    @blueprint.get(f"{account}/Applications/<sid>.json")
    async def application(account_sid: str, sid: str) -> Response:
        return await edge.answer(
            "application.fetch", account_sid, lambda asked: routes.application(asked, sid)
        )

    @blueprint.post(f"{account}/Applications/<sid>.json")
    async def update_application(account_sid: str, sid: str) -> Response:
        return await edge.answer(
            "application.update", account_sid, lambda asked: routes.update_application(asked, sid)
        )

    @blueprint.get("/v2/Channels/Senders")
    async def senders() -> Response:
        return await edge.answer("sender.list", None, routes.senders)

    return blueprint
