"""Every fault of the simulated Twilio, with the sentence that explains it.

A fault of `REST_FAULTS` strikes `message.create` unless its detail `on` names another operation (`message.list`,
`message.fetch`, `message.update`, `message.delete`, `media.fetch`, `typing.create`, `account.fetch`, `call.create`,
`call.update`, `call.list`, `participant.create`, `participant.update`, `participant.delete`, `conference.update`, …) or
`any`. A fault of `VOICE_FAULTS` with a detail `on` strikes only where the number, address or URL in question contains it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REST_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rest_429": "REST answers 429, code 20429, with Retry-After (detail retry_after_s, 1); nothing happens",
        "rest_500_before": "REST answers 500, code 20500; nothing happened",
        "rest_500_after": "REST does what was asked and answers 500, code 20500",
        "rest_timeout_after": "REST does what was asked, holds the connection (detail seconds, 30), then drops it",
        "rest_drop_before": "REST drops the connection; nothing happened",
        "rest_slow": "REST does what was asked and answers late (detail seconds, 5)",
        "rest_refused": "REST answers 400 with any code (details code, 21408, and status, 400); nothing happens",
        "html_502": "REST answers 502 with an HTML page, as a proxy would; nothing happened",
    }
)

MESSAGE_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "status_before_answer": "the first status callback is answered before the create is",
        "list_lags": "a new message does not show in the list at first (detail seconds, 5)",
        "message_failed": "a message that REST accepted fails (detail code, 63016)",
        "message_undelivered": "a message is sent, then undelivered (detail code, 63049)",
        "typing_fails": "the typing indicator answers 500 (detail status)",
    }
)

WEBHOOK_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "webhook_duplicate": "an inbound message's webhook is requested twice (detail seconds between them, 0)",
        "webhook_reorder": "an inbound message's webhook comes after the person's next one (detail seconds, 2, at most)",
        "webhook_late": "an inbound message's webhook is requested late (detail seconds, 30), overtaken by later ones",
        "webhook_lost": "an inbound message's webhook is never requested; the list shows the message",
        "webhook_forged": "somebody else posts a made-up message with a bad signature ahead of the true webhook",
    }
)

STATUS_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "status_duplicate": "a status callback is requested twice (detail seconds between them, 0)",
        "status_reorder": "a status callback comes after the message's next one (detail seconds, 2, at most)",
        "status_late": "a status callback is requested late (detail seconds, 30)",
        "status_lost": "a status callback is never requested",
    }
)

CALLBACK_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        f"{family}_{what}": f"{which} {effect}"
        for family, which in (
            ("call_status", "a status callback of a call, a stream or a machine detection"),
            ("conference_event", "a conference event"),
            ("recording_status", "a recording's status callback"),
        )
        for what, effect in (
            ("duplicate", "is requested twice (detail seconds between them, 0)"),
            ("reorder", "comes after the next one (detail seconds, 2, at most)"),
            ("late", "is requested late (detail seconds, 30)"),
            ("lost", "is never requested"),
        )
    }
)

VOICE_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "call_fails": "the network cannot place a call (detail code, the SIP response, 503)",
        "call_drops": "a call breaks off after it was answered (detail seconds, 5), as by a dead battery",
        "redirect_late": "new orders over REST for a call are followed late (detail seconds, 2)",
        "picks_up_first": "a ringing telephone is picked up an instant before REST ends its call",
        "call_list_lags": "a new call does not show in the list at first (detail seconds, 5)",
        "document_late": "a document or sound is requested late (detail seconds, 5)",
        "document_lost": "a document or sound is never requested, as if nobody listened there",
        "document_duplicate": "a document is requested twice, and the second answer counts",
        "amd_late": "machine detection takes longer (detail seconds, 10)",
        "amd_wrong": "machine detection takes a person for a machine and the reverse",
        "participant_add_failed": "a participant added over REST is never reached; participant_add_failed follows",
        "participant_joins_at_ring": "participant-join is told when the telephone rings, not when it is answered",
        "conference_lags": "REST does not find a new conference at first (detail seconds, 2)",
        "app_leg_same_sid": "both legs of a call to an application show the same Call SID",
        "stream_refused": "a media stream's handshake fails with 502",
        "stream_late": "a media stream's handshake comes late (detail seconds, 3)",
        "stream_start_late": "a media stream opens and its start message comes late (detail seconds, 5)",
        "media_jitter": "a frame of a media stream is held up (detail seconds, 0.2), and those behind it, which then come "
        "at once; more than a second is lost",
        "media_lost": "a frame of a media stream never comes, and the count of its chunks has a gap",
        "mark_lost": "a mark that was played is never told",
        "mark_late": "a mark that was played is told late (detail seconds, 1)",
        "stream_drop": "a media stream breaks without a close frame (detail seconds after its start, 1)",
        "stream_no_stop": "a media stream's connection ends without the stop message",
        "stream_signature": "the handshake is signed otherwise (detail form: absent, slash, https, forged)",
        "recording_not_ready": "a recording's file answers 404 at first (detail seconds, 5)",
    }
)

KNOWN_FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **REST_FAULTS,
        **MESSAGE_FAULTS,
        **WEBHOOK_FAULTS,
        **STATUS_FAULTS,
        **CALLBACK_FAULTS,
        **VOICE_FAULTS,
    }
)
