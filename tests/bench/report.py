"""Figures as a table, and the machine they are from."""

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import field, frozen


@frozen
class Figure:
    """One line of the report.

    Attributes:
        values: of the repetitions.
        aim: what the value should be, in words.
    """

    name: str
    unit: str
    values: Sequence[float]
    aim: str = field(default="", kw_only=True)

    def row(self) -> str:
        low, middle, high = min(self.values), statistics.median(self.values), max(self.values)
        return f"| {self.name} | {self.unit} | {_shown(low)} | **{_shown(middle)}** | {_shown(high)} | {self.aim} |"


HEADER = "| | unit | min | median | max | aim |\n| --- | --- | ---: | ---: | ---: | --- |"


def machine() -> str:
    cpu = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {cpu}, {memory_gib:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} at the beginning"
    )


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
