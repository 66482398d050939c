"""Pauses between attempts. Pure."""

_DOUBLINGS_MAX = 60
"""More than any limit needs, and far from where a float ends: something may fail for months."""


def doubling_s(first_s: float, failures: int, *, max_s: float) -> float:
    """The pause after so many failures before this one: `first_s`, then twice as long each time, at most `max_s`."""
    return min(first_s * 2.0 ** min(failures, _DOUBLINGS_MAX), max_s)
