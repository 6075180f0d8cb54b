"""A loopback server that answers with exactly the bytes it is given: recorded responses and broken ones.

    with RawServer(lambda request: [b"HTTP/1.1 200 OK\\r\\n…"]) as server: … server.base_url

The script takes the first line of a request ("POST /api/chat HTTP/1.1") and returns the pieces to send; a
float among them is a pause in seconds, which ends at once when the server stops. The connection is closed
after the last piece.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable

Script = Callable[[str], Iterable[bytes | float]]


class RawServer:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self.requests: list[bytes] = []  # head and body, whole
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> RawServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = _read_request(connection)
            self.requests.append(request)
            for piece in self._script(request.split(b"\r\n", 1)[0].decode()):
                if isinstance(piece, bytes):
                    connection.sendall(piece)
                elif self._stopped.wait(piece):
                    return


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received and (more := connection.recv(65_536)):
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    missing = int(fields.get(b"content-length", b"0")) - len(body)
    while missing > 0 and (more := connection.recv(65_536)):
        received += more
        missing -= len(more)
    return received


def response(status: str, body: bytes, *headers: str) -> bytes:
    """A whole response with a Content-Length; status like "200 OK"."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body
