"""One HTTP exchange with hard limits: connecting, first byte, idle between bytes, and a deadline over all.

The backends beside this file (`http.client` for plain http to loopback, because it starts three times
faster; httpx for everything else) only push bytes. They run in a thread of their own, and the reader here
does the waiting: so both keep exactly the same limits, a name server that hangs and a server that drips one
byte a second included, and Ctrl-C works at once. No redirect is ever followed.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from backlog_ops.llm.types import AttemptError, Clock, Outcome

MAX_RESPONSE_BYTES = 64 * 1024 * 1024


class Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class Limits(NamedTuple):
    connect: float  # seconds
    first_byte: float  # seconds from connected to the first byte of the response
    idle: float  # seconds between two bytes
    deadline: float  # instant of the clock's `monotonic`

    @property
    def of_the_socket(self) -> float:
        """Seconds, longer than the reader ever waits: this only ends a thread whose reader has gone."""
        return max(self.first_byte, self.idle) + 5


class Connected:
    """The connection stands and the request is going out."""


class Head(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case


class Backend(Protocol):
    def __call__(self, request: Request, limits: Limits, emit: Callable[[Connected | Head | bytes], None]) -> None:
        """Emit Connected, then Head, then the body's bytes; return when it is complete. Raises AttemptError."""
        ...


class _AbandonedError(Exception):
    """Nobody reads any more: unwinds the backend, which closes its connection."""


class Response:
    """A response whose body may still be arriving. Use as a context manager; leaving closes it."""

    def __init__(self, request: Request, limits: Limits, clock: Clock, backend: Backend) -> None:
        self._limits, self._clock, self._where = limits, clock, origin(request.url)
        self._events: queue.SimpleQueue[Connected | Head | bytes | BaseException | None] = queue.SimpleQueue()
        self._abandoned = False
        threading.Thread(target=self._pump, args=(request, backend), daemon=True).start()
        try:
            self._next("connect", limits.connect)
            head = self._next("first byte", limits.first_byte)
        except BaseException:
            self._abandoned = True
            raise
        assert isinstance(head, Head)
        self.status, self.headers = head.status, head.headers

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandoned = True

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without line ends, as it arrives. Raises AttemptError."""
        rest = b""
        for chunk in self._chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def read(self) -> bytes:
        """The whole body. Raises AttemptError."""
        return b"".join(self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        size = 0
        while chunk := self._next("idle", self._limits.idle):
            assert isinstance(chunk, bytes)
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                raise AttemptError(Outcome.BROKEN, f"{self._where}: response larger than {MAX_RESPONSE_BYTES} bytes")
            yield chunk

    def _next(self, phase: str, seconds: float) -> Connected | Head | bytes | None:
        left = self._limits.deadline - self._clock.monotonic()
        try:
            event = self._events.get(timeout=max(min(seconds, left), 0.001))
        except queue.Empty:
            raise self._timed_out(phase, seconds, left) from None
        if isinstance(event, BaseException):
            raise event
        return event

    def _timed_out(self, phase: str, seconds: float, left: float) -> AttemptError:
        if phase == "connect":
            detail = f"{self._where}: no connection within {min(seconds, max(left, 0)):.3g} s"
            return AttemptError(Outcome.UNREACHABLE, detail, closes_endpoint=True)
        if left < seconds:
            return AttemptError(Outcome.TIMEOUT, f"{self._where}: out of time", closes_endpoint=True)
        what = "no answer began" if phase == "first byte" else "the answer stopped"
        return AttemptError(Outcome.TIMEOUT, f"{self._where}: {what} for {seconds:.3g} s", closes_endpoint=True)

    def _pump(self, request: Request, backend: Backend) -> None:
        def emit(event: Connected | Head | bytes) -> None:
            if self._abandoned:
                raise _AbandonedError
            self._events.put(event)

        try:
            backend(request, self._limits, emit)
        except _AbandonedError:
            pass
        except BaseException as error:  # handed to the reader, whatever it is
            self._events.put(error)
        else:
            self._events.put(None)


def send(request: Request, limits: Limits, clock: Clock) -> Response:
    """Send it and wait for the head of the response. Raises AttemptError."""
    return Response(request, limits, clock, _backend_for(request.url))


def _backend_for(url: str) -> Backend:
    # Imported here and not in the pumping thread: the import must not eat the connect limit.
    if not _is_address(url):
        detail = "the base URL is not of the form http://HOST:PORT or https://HOST"
        raise AttemptError(Outcome.REJECTED, detail, closes_endpoint=True)
    if url.startswith("http:") and is_loopback(url):
        from backlog_ops.llm import transport_stdlib

        return transport_stdlib.exchange
    try:
        from backlog_ops.llm import transport_httpx
    except ImportError:
        detail = f"{origin(url)}: needs the Python package httpx, which is not installed"
        raise AttemptError(Outcome.UNREACHABLE, detail, closes_endpoint=True) from None
    return transport_httpx.exchange


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port beyond 65535, a bracket without its other half
        return False


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or "" if _is_address(url) else ""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def origin(url: str) -> str:
    """Scheme, host and port: a URL as it may be shown, without a user name, a password or a query."""
    if not _is_address(url):
        return "the base URL"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
