"""httpx, for everything that is not plain http to loopback: TLS, proxies, HTTP details."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx

from backlog_ops.llm.transport import Connected, Head, Limits, Request, origin
from backlog_ops.llm.types import AttemptError, Outcome


def exchange(request: Request, limits: Limits, emit: Callable[[Connected | Head | bytes], None]) -> None:
    connected = False

    def trace(event: str, _: Any) -> None:
        nonlocal connected
        if not connected and event.endswith("send_request_headers.started"):
            connected = True
            emit(Connected())

    where = origin(request.url)
    timeout = httpx.Timeout(limits.of_the_socket, connect=limits.connect)
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=False) as client,
            client.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=request.body,
                extensions={"trace": trace},
            ) as response,
        ):
            emit(Head(response.status_code, dict(response.headers)))
            for chunk in response.iter_bytes():
                if chunk:
                    emit(chunk)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # OSError: an unreadable certificate bundle; ValueError: a header that cannot be encoded. What they say
        # may quote a key or a URL, so only their kind is told.
        if connected:
            detail = f"{where}: the connection broke ({type(error).__name__})"
            raise AttemptError(Outcome.BROKEN, detail, retry=True) from None
        detail = f"{where}: no connection ({_cause(error)})"
        raise AttemptError(Outcome.UNREACHABLE, detail, closes_endpoint=True) from None


def _cause(error: Exception) -> str:
    """The system's own words where there are some: "Connection refused", a certificate's fault."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return type(error).__name__
