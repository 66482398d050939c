"""The account, its numbers and its TwiML Apps, as far as a check of somebody's settings asks for them.

Twilio OpenAPI: api_v2010.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define
from quart import Blueprint, Response

from daemon.lab.twilio.account import Account, Application, IncomingNumber
from daemon.lab.twilio.errors import not_found
from daemon.lab.twilio.paging import page
from daemon.lab.twilio.rest import Asked, Edge, Reply

# Nothing here has an age of its own.
SINCE: Final = "Wed, 01 Jan 2025 00:00:00 +0000"

NUMBER_SETTINGS: Final[Mapping[str, str]] = {
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
    "VoiceFallbackMethod": "voice_fallback_method",
    "VoiceFallbackUrl": "voice_fallback_url",
    "VoiceMethod": "voice_method",
    "VoiceUrl": "voice_url",
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
        form = asked.form
        number.friendly_name = form.get("FriendlyName") or number.friendly_name
        for name, attribute in NUMBER_SETTINGS.items():
            value = form.get(name)
            if value is not None:
                setattr(number, attribute, value or ("POST" if attribute.endswith("_method") else None))
        return Reply(body=self._number(number))

    def applications(self, asked: Asked) -> Reply:
        wanted = asked.query.get("FriendlyName")
        found = [app for app in self.account.applications if wanted in {None, app.friendly_name}]
        return self._page(asked, "applications", [self._application(app) for app in found])

    def application(self, asked: Asked, sid: str) -> Reply:
        for app in self.account.applications:
            if app.sid == sid:
                return Reply(body=self._application(app))
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

    return blueprint
