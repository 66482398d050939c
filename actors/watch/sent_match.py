"""Which of the messages that Twilio lists is the one whose sending had no usable answer. Pure."""

from collections.abc import Sequence

from actors.conversation.permission import goes_as_template
from actors.messages import Outgoing, SentMessage


def match_sent(message: Outgoing, unclaimed: Sequence[SentMessage]) -> SentMessage | None:
    """The listed message that is `message`, oldest first; None when there is none.

    Only messages to the same person that no other of ours has claimed are given, and at most one of a
    person's is ever in doubt. A template's body is written by Twilio, so for a message that went as one, any
    unclaimed message counts.
    """
    candidates = sorted(unclaimed, key=lambda sent: sent.created_at)
    for sent in candidates:
        if sent.body.strip() == message.text.strip():
            return sent
    return candidates[0] if candidates and _may_have_gone_as_template(message) else None


def _may_have_gone_as_template(message: Outgoing) -> bool:
    since, opened_at = message.sending_since, message.window_opened_at
    if message.template is None or since is None:
        return False
    # Whoever has written since then, to answer this very message maybe, has hidden what the window was like.
    return goes_as_template(message, since) or (opened_at is not None and opened_at > since)
