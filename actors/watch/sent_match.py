"""Which of the messages that Twilio lists is the one whose sending had no usable answer. Pure."""

from collections.abc import Sequence

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
    return candidates[0] if candidates and message.as_template else None
