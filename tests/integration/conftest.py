"""What tests of the voice routes share: one daemon, since every start takes seconds and no test disturbs another."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.relay import Relay
from tests.integration.voice_door import VoiceDoor, knocking, running


@pytest.fixture(scope="package")
def voice_relay(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A daemon in conference mode with advisors, and its lab."""
    with running(database_url, tmp_path_factory.mktemp("voice")) as relay:
        yield relay


@pytest.fixture
async def door(voice_relay: Relay) -> AsyncIterator[VoiceDoor]:
    async with knocking(voice_relay) as door:
        yield door
