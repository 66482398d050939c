"""What the actors count. Where it goes is the daemon's affair."""

from typing import Protocol


class Metrics(Protocol):
    """Plain calls that take no time and never fail. Words come from small fixed sets, never from outside."""

    def turn_finished(self, result: str, seconds: float, /) -> None:
        """A turn is over. `seconds` since it began, which is the time to answer when `result` is `answered`."""

    def flood_began(self) -> None:
        """A person writes more than is answered message by message; what follows is gathered."""

    def agent_session_opened(self, seconds: float, /) -> None:
        """A session can be spoken to; `seconds` since it was asked for."""

    def agent_session_closed(self, code: int | None, /) -> None:
        """A session is over, or none came about: WebSocket close code, HTTP status, or None without either."""

    def message_sent(self, result: str, code: int | None, /) -> None:
        """An attempt to send has ended; `code` is Twilio's error code, if it gave one."""

    def message_waited(self, purpose: str, seconds: float, /) -> None:
        """A message is at Twilio; `seconds` since it was put into the outbox."""

    def child_restarted(self, kind: str, /) -> None:
        """The supervisor has started a crashed child again; `kind` is what such children are called together."""

    def call_found(self, source: str, outcome: str, /) -> None:
        """A finished call was found for the first time."""


class NoMetrics:
    """Counts nothing."""

    def turn_finished(self, result: str, seconds: float, /) -> None:
        pass

    def flood_began(self) -> None:
        pass

    def agent_session_opened(self, seconds: float, /) -> None:
        pass

    def agent_session_closed(self, code: int | None, /) -> None:
        pass

    def message_sent(self, result: str, code: int | None, /) -> None:
        pass

    def message_waited(self, purpose: str, seconds: float, /) -> None:
        pass

    def child_restarted(self, kind: str, /) -> None:
        pass

    def call_found(self, source: str, outcome: str, /) -> None:
        pass
