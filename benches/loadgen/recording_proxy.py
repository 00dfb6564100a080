"""A proxy that records the bytes that a server streams, with their times, and can replay them: it sends the
same bytes at the same times after each request. So two clients can measure the same run."""

import asyncio
import json
import re
import threading


class RecordingProxy:
    """Forwards to the server at `upstream` (`http://host:port`), and listens on a free loopback port.

    Requests for `load_tokens` tokens are the load. The proxy records their answers. After `replay()`
    it answers them from the recordings, in the recorded order. It forwards all other requests.
    """

    def __init__(self, upstream: str, load_tokens: int):
        host, _, port = upstream.removeprefix("http://").rpartition(":")
        self.upstream = (host, int(port))
        self.load_tokens = load_tokens
        # For each request: seconds since the request was read, and a piece of the answer.
        self.recordings: list[list[tuple[float, bytes]]] = []
        self.unplayed: list[list[tuple[float, bytes]]] | None = None
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        starting = asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.server = asyncio.run_coroutine_threadsafe(starting, self.loop).result()
        self.address = "http://127.0.0.1:{}".format(self.server.sockets[0].getsockname()[1])

    def __enter__(self) -> "RecordingProxy":
        return self

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)

    def replay(self) -> None:
        self.unplayed = list(self.recordings)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one request and closes the connection, as the response headers announce."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            if not self.is_load(body):
                await self.forward(head, body, writer, recording=[])
            elif self.unplayed is None:
                self.recordings.append([])
                await self.forward(head, body, writer, self.recordings[-1])
            else:
                await self.play(self.unplayed.pop(0), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client has disconnected.
        finally:
            writer.close()

    async def forward(self, head: bytes, body: bytes, writer, recording: list) -> None:
        head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
        began = self.loop.time()
        server, to_server = await asyncio.open_connection(*self.upstream)
        to_server.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + body)
        while piece := await server.read(1 << 16):
            recording.append((self.loop.time() - began, piece))
            writer.write(piece)
            await writer.drain()
        to_server.close()

    async def play(self, recording: list[tuple[float, bytes]], writer) -> None:
        began = self.loop.time()
        for after_seconds, piece in recording:
            await asyncio.sleep(began + after_seconds - self.loop.time())
            writer.write(piece)
            await writer.drain()

    def is_load(self, body: bytes) -> bool:
        asked = json.loads(body) if body else {}
        limits = (asked.get("max_completion_tokens"), asked.get("max_tokens"))
        return self.load_tokens in limits
