"""The simulated Twilio's end of a media stream's connection."""

import pytest
import trio
from trio.testing import memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Request

from daemon.lab.twilio.voice.socket import GoneError, Socket


async def test_whoever_sends_into_a_connection_that_was_closed_learns_the_code_too() -> None:
    """The one who reads may not have come to it: media go out every 20 ms."""
    ours, theirs = memory_stream_pair()
    client, server = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)
    server.receive_data(client.send(Request(host="x", target="/")))
    list(server.events())
    client.receive_data(server.send(AcceptConnection()))
    list(client.events())
    socket = Socket(ours, client)
    await theirs.send_all(server.send(CloseConnection(code=1008)))

    async with trio.open_nursery() as nursery:
        # The answer to the close waits behind a frame that is on its way.
        await socket._sending.acquire()
        nursery.start_soon(_receive, socket)
        await trio.testing.wait_all_tasks_blocked()
        socket._sending.release()
        with pytest.raises(GoneError) as gone:
            await socket.send("media")

    assert gone.value.code == 1008


async def _receive(socket: Socket) -> None:
    with pytest.raises(GoneError):
        await socket.receive()
