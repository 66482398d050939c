"""The connections to ElevenLabs' REST API, as the daemon opens them."""

import trio
from attrs import evolve

from daemon.adapters import open_elevenlabs
from daemon.settings import Settings

CUT_OFF = 60
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


async def test_requests_that_hang_or_were_cut_off_leave_room_for_the_next() -> None:
    asked = 0
    all_hang = trio.Event()

    async def answer_the_last(stream: trio.SocketStream) -> None:
        nonlocal asked
        async with stream:
            await stream.receive_some()
            asked += 1
            if asked > 2 * CUT_OFF:
                await stream.send_all(ANSWER)
            elif asked % CUT_OFF == 0:
                all_hang.set()
            await stream.receive_some()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, answer_the_last, [listener])
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            settings = Settings()
            settings = evolve(settings, elevenlabs=evolve(settings.elevenlabs, base_url=url))
            async with open_elevenlabs(settings) as api:
                for attempt in range(2):
                    async with trio.open_nursery() as hanging:
                        for _ in range(CUT_OFF):
                            hanging.start_soon(api.find, "/hang")
                        await all_hang.wait()
                        all_hang = trio.Event()
                        if attempt == 0:
                            hanging.cancel_scope.cancel()
                            continue
                        assert await api.get("/quick", {}) == {}
                        hanging.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
