"""`/Messages/{MessageSid}/Media`: what persons sent, behind Basic auth and a redirect.

Twilio docs: messaging/api/media-resource.
"""

from typing import Any, Final

from attrs import define, field
from quart import Blueprint, Response

from daemon.lab.twilio.account import Account
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.errors import not_found
from daemon.lab.twilio.rest import Asked, Edge, Reply
from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.whatsapp.messages import Media, Message, rfc2822
from daemon.lab.twilio.whatsapp.world import World

LINK_LIFE_S: Final = 4 * 3600.0
LINKS_MAX: Final = 10_000


@define(eq=False, kw_only=True)
class MediaRoutes:
    """Media of messages. A file is fetched at a link that lives four hours and asks for no credentials."""

    account: Account
    world: World
    clock: LabClock
    _links: dict[str, tuple[Media, float]] = field(factory=dict, init=False)

    def list(self, asked: Asked, message_sid: str) -> Reply:
        message = self._message(asked, message_sid)
        shown = [self._resource(message, media) for media in message.media.values()]
        uri = asked.path
        return Reply(
            body={
                "media_list": shown,
                "end": max(0, len(shown) - 1),
                "first_page_uri": uri,
                "next_page_uri": None,
                "page": 0,
                "page_size": 50,
                "previous_page_uri": None,
                "start": 0,
                "uri": uri,
            }
        )

    def fetch(self, asked: Asked, message_sid: str, sid: str) -> Reply:
        message = self._message(asked, message_sid)
        return Reply(body=self._resource(message, self._media(asked, message, sid)))

    def redirect(self, asked: Asked, message_sid: str, sid: str) -> Reply:
        media = self._media(asked, self._message(asked, message_sid), sid)
        if len(self._links) >= LINKS_MAX:
            del self._links[next(iter(self._links))]
        token = new_sid("")
        self._links[token] = (media, self.clock.elapsed_s() + LINK_LIFE_S)
        return Reply(status=307, redirect=f"{self.account.public_url}/media/{token}")

    def delete(self, asked: Asked, message_sid: str, sid: str) -> Reply:
        message = self._message(asked, message_sid)
        del message.media[self._media(asked, message, sid).sid]
        return Reply(status=204)

    def open_link(self, token: str) -> Media | None:
        media, dies_s = self._links.get(token, (None, 0.0))
        return media if self.clock.elapsed_s() < dies_s else None

    def _message(self, asked: Asked, sid: str) -> Message:
        message = self.world.messages.get(sid)
        if message is None:
            raise not_found(asked.path)
        return message

    def _media(self, asked: Asked, message: Message, sid: str) -> Media:
        media = message.media.get(sid)
        if media is None:
            raise not_found(asked.path)
        return media

    def _resource(self, message: Message, media: Media) -> dict[str, Any]:
        return {
            "account_sid": self.account.sid,
            "content_type": media.content_type,
            "date_created": rfc2822(message.created_at),
            "date_updated": rfc2822(message.created_at),
            "parent_sid": message.sid,
            "sid": media.sid,
            "uri": f"/2010-04-01/Accounts/{self.account.sid}/Messages/{message.sid}/Media/{media.sid}.json",
        }


def media_blueprint(edge: Edge, routes: MediaRoutes) -> Blueprint:
    blueprint = Blueprint("media", __name__)
    collection = "/2010-04-01/Accounts/<account_sid>/Messages/<message_sid>/Media"

    @blueprint.get(f"{collection}.json")
    async def list_media(account_sid: str, message_sid: str) -> Response:
        return await edge.answer("media.list", account_sid, lambda asked: routes.list(asked, message_sid))

    @blueprint.get(f"{collection}/<sid>.json")
    async def fetch(account_sid: str, message_sid: str, sid: str) -> Response:
        return await edge.answer(
            "media.fetch", account_sid, lambda asked: routes.fetch(asked, message_sid, sid)
        )

    @blueprint.get(f"{collection}/<sid>")
    async def fetch_file(account_sid: str, message_sid: str, sid: str) -> Response:
        return await edge.answer(
            "media.fetch", account_sid, lambda asked: routes.redirect(asked, message_sid, sid)
        )

    @blueprint.delete(f"{collection}/<sid>.json")
    async def delete(account_sid: str, message_sid: str, sid: str) -> Response:
        return await edge.answer(
            "media.delete", account_sid, lambda asked: routes.delete(asked, message_sid, sid)
        )

    @blueprint.get("/media/<token>")
    async def open_link(token: str) -> Response:
        media = routes.open_link(token)
        if media is None:
            return Response("", 403)
        return Response(media.content, content_type=media.content_type)

    return blueprint
