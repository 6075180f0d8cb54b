"""http.client, for plain http to loopback: nothing to import that Python itself does not bring."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from urllib.parse import urlsplit

from backlog_ops.llm.transport import Connected, Head, Limits, Request, origin
from backlog_ops.llm.types import AttemptError, Outcome

_CHUNK_BYTES = 65_536


def exchange(request: Request, limits: Limits, emit: Callable[[Connected | Head | bytes], None]) -> None:
    parts, where = urlsplit(request.url), origin(request.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=limits.connect)
    try:
        try:
            connection.connect()
        except OSError as error:
            detail = f"{where}: {error.strerror or type(error).__name__}"
            raise AttemptError(Outcome.UNREACHABLE, detail, closes_endpoint=True) from None
        emit(Connected())
        connection.sock.settimeout(limits.of_the_socket)
        try:
            connection.request(request.method, _target(request.url), request.body or None, dict(request.headers))
            response = connection.getresponse()
            emit(Head(response.status, {name.lower(): value for name, value in response.getheaders()}))
            while chunk := response.read1(_CHUNK_BYTES):
                emit(chunk)
        except (OSError, http.client.HTTPException, ValueError) as error:
            detail = f"{where}: the connection broke ({type(error).__name__})"
            raise AttemptError(Outcome.BROKEN, detail, retry=True) from None
        if response.length:
            raise AttemptError(Outcome.BROKEN, f"{where}: the response was cut off", retry=True)
    finally:
        connection.close()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
