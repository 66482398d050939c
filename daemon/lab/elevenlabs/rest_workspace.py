"""REST: workspace webhooks and settings, phone numbers, text-to-speech.

Source: ElevenLabs OpenAPI, `/v1/workspace/webhooks`, `/v1/convai/settings`, `/v1/convai/phone-numbers`,
`/v1/text-to-speech`.
"""

from typing import Any, Final

from attrs import define
from quart import Response, request
from quart_trio import QuartTrio

from daemon.lab.elevenlabs.calls import LAB_NUMBER
from daemon.lab.elevenlabs.errors import business_error, require
from daemon.lab.elevenlabs.loose import as_mapping
from daemon.lab.elevenlabs.rest import read_json, reply
from daemon.lab.elevenlabs.speech import speech_file, spoken_s
from daemon.lab.elevenlabs.webhooks import WebhookTarget
from daemon.lab.elevenlabs.world import World

_PHONE_NUMBER: Final = {
    "phone_number": LAB_NUMBER,
    "label": "Lab",
    "supports_inbound": True,
    "supports_outbound": True,
    "phone_number_id": "phnum_lab",
    "assigned_agent": None,
    "provider": "twilio",
}


@define(eq=False)
class WorkspaceRoutes:
    world: World

    def add_to(self, app: QuartTrio) -> None:
        app.add_url_rule("/v1/workspace/webhooks", view_func=self.create_webhook, methods=["POST"])
        app.add_url_rule("/v1/workspace/webhooks", view_func=self.list_webhooks, methods=["GET"])
        app.add_url_rule("/v1/convai/settings", view_func=self.get_settings, methods=["GET"])
        app.add_url_rule("/v1/convai/settings", view_func=self.patch_settings, methods=["PATCH"])
        app.add_url_rule("/v1/convai/phone-numbers", view_func=self.list_phone_numbers, methods=["GET"])
        speech = "/v1/text-to-speech/<voice_id>"
        app.add_url_rule(speech, view_func=self.speak, methods=["POST"])
        app.add_url_rule(f"{speech}/stream", "speak_stream", view_func=self.speak, methods=["POST"])

    async def create_webhook(self) -> Response:
        body = await read_json()
        require(body, settings=dict)
        settings: dict[str, Any] = body["settings"]
        require(settings, auth_type=str, name=str, webhook_url=str)
        webhook_id = self.world.ids.new("wh_")
        target = WebhookTarget(
            url=settings["webhook_url"],
            secret=self.world.ids.new("wsec_"),
            retry=bool(settings.get("retry_enabled", False)),
        )
        entry = {
            "name": settings["name"],
            "webhook_id": webhook_id,
            "webhook_url": target.url,
            "is_disabled": False,
            "is_auto_disabled": False,
            "created_at_unix": int(self.world.now()),
            "auth_type": settings["auth_type"],
            "usage": [],
            "most_recent_failure_error_code": None,
            "most_recent_failure_timestamp": None,
        }
        self.world.webhook_book.created[webhook_id] = (entry, target)
        return reply({"webhook_id": webhook_id, "webhook_secret": target.secret})

    async def list_webhooks(self) -> Response:
        return reply({"webhooks": [entry for entry, _ in self.world.webhook_book.created.values()]})

    def _settings(self) -> dict[str, Any]:
        return {
            "conversation_initiation_client_data_webhook": None,
            "webhooks": self.world.webhook_book.settings,
            "can_use_mcp_servers": False,
            "rag_retention_period_days": 10,
        }

    async def get_settings(self) -> Response:
        return reply(self._settings())

    async def patch_settings(self) -> Response:
        self.world.webhook_book.settings.update(as_mapping((await read_json()).get("webhooks")))
        return reply(self._settings())

    async def list_phone_numbers(self) -> Response:
        return reply([_PHONE_NUMBER])

    async def speak(self, voice_id: str) -> Response:
        """A tone as long as the text takes to say, in the format asked for; MP3 is silent."""
        body = await read_json()
        require(body, text=str)
        output_format = request.args.get("output_format", "mp3_44100_128")
        try:
            sound = speech_file(spoken_s(body["text"]), output_format)
        except ValueError as error:
            message = f"Output format {output_format} is not supported by the lab (voice {voice_id})."
            raise business_error(400, "invalid_output_format", message, kind="validation_error") from error
        return Response(sound, content_type="audio/mpeg")
