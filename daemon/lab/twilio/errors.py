"""Twilio's error codes as its REST side answers them (Twilio docs: api/errors)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

SENTENCES: Final[Mapping[int, str]] = MappingProxyType(
    {
        16025: "A participant with that label is already in the conference",
        20001: "Invalid parameter",
        20003: "Authenticate",
        20004: "Method not allowed",
        20009: "The message cannot be deleted before its delivery has been completed",
        20404: "The requested resource was not found",
        20429: "Too Many Requests",
        20500: "An internal server error has occurred",
        21201: "No 'To' number is specified",
        21205: "Url parameter is required.",
        21210: "'From' phone number not verified",
        21211: "Invalid 'To' Phone Number",
        21212: "Invalid From Number (caller ID)",
        21213: "'From' phone number is required",
        21218: "The 'ApplicationSid' is not valid",
        21220: "Unable to update record. Call is not in-progress. Cannot redirect.",
        21408: "Permission to send a message has not been enabled for the region indicated by the 'To' number",
        21602: "Message body is required.",
        21603: "A 'From' phone number is required.",
        21604: "A 'To' phone number is required.",
        21606: "The 'From' phone number provided is not a valid, message-capable Twilio phone number.",
        21609: "The StatusCallback URL is not a valid URL.",
        21610: "Attempt to send to unsubscribed recipient",
        21611: "This 'From' number has exceeded the maximum number of queued messages",
        21617: "The concatenated message body exceeds the 1600 character limit",
        21619: "A text message body or media urls must be specified.",
        21623: "Number of media files exceeds allowed limit",
        21654: "ContentSid Required",
        21655: "The ContentSid is Invalid",
        21656: "The ContentVariables Parameter is invalid",
        21701: "The Messaging Service does not exist",
        21910: "Invalid From and To pair. From and To should be of the same channel",
        30409: "This message cannot be canceled",
        63007: "Twilio could not find a Channel with the specified From address",
    }
)


class RestError(Exception):
    """A refusal that REST answers in Twilio's error shape.

    Attributes:
        status: the HTTP status.
        code: Twilio's error code.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, code: int, sentence: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence or SENTENCES.get(code, "Error"))
        self.status = status
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": str(self),
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


def not_found(path: str) -> RestError:
    return RestError(404, 20404, f"The requested resource {path} was not found")
