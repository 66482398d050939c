"""Where Twilio comes to on behalf of a live call, below the public URL. Pure.

A live call travels in the query as `c`, one of its legs as `l`, for Twilio says nothing of either: a conference event names
no call, and a leg that REST has dialled has no parent (Twilio docs: voice/api/call-resource, voice/twiml/conference).
"""

from typing import Final

INCOMING: Final = "/voice/incoming"
NUMBER_STATUS: Final = "/voice/status"

AGENT: Final = "/voice/agent"
AGENT_STATUS: Final = "/voice/agent/status"
STREAM: Final = "/voice/stream"

CONFERENCE: Final = "/voice/conference"
AFTER: Final = "/voice/after"
HOLD_MUSIC: Final = "/voice/hold-music"

TRANSFER_INIT: Final = "/voice/transfer/init"
TRANSFER_CONNECT: Final = "/voice/transfer/connect"
TRANSFER_ACCEPT: Final = "/voice/transfer/accept"
TRANSFER_DECLINED: Final = "/voice/transfer/declined"
TRANSFER_STATUS: Final = "/voice/transfer/status"

MENU: Final = "/voice/menu"
MENU_CHOICE: Final = "/voice/menu/choice"
VOICEMAIL: Final = "/voice/voicemail"
VOICEMAIL_DONE: Final = "/voice/voicemail/done"
VOICEMAIL_RECORDING: Final = "/voice/voicemail/recording"

CALL_KEY: Final = "c"
LEG_KEY: Final = "l"
TRY_KEY: Final = "t"
"""How often a leg has asked again, where its call gave no answer."""


def of_call(path: str, live_call_id: int) -> str:
    return f"{path}?{CALL_KEY}={live_call_id}"


def of_leg(path: str, live_call_id: int, leg: int) -> str:
    return f"{of_call(path, live_call_id)}&{LEG_KEY}={leg}"
