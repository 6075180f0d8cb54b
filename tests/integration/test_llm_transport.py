"""Both backends keep the same limits and report the same failures, against a server that misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from backlog_ops.llm import transport_stdlib
from backlog_ops.llm.transport import Backend, Limits, Request, Response, is_loopback, origin, send
from backlog_ops.llm.types import AttemptError, Clock, Outcome
from tests.support.ollama_standin import refused_url
from tests.support.raw_http import RawServer, Script, response

transport_httpx = pytest.importorskip("backlog_ops.llm.transport_httpx")

BACKENDS = {"http.client": transport_stdlib.exchange, "httpx": transport_httpx.exchange}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FOREVER = 3600.0


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.param
    return found


def limits(connect: float = 5, first_byte: float = 5, idle: float = 5, total: float = 10) -> Limits:
    return Limits(connect, first_byte, idle, time.monotonic() + total)


def get(url: str, backend: Backend, within: Limits | None = None) -> tuple[int, bytes]:
    with Response(Request("GET", url, {}), within or limits(), Clock(), backend) as got:
        return got.status, got.read()


def fails(script: Script, backend: Backend, within: Limits | None = None) -> AttemptError:
    with RawServer(script) as server, pytest.raises(AttemptError) as raised:
        get(server.base_url, backend, within)
    return raised.value


def test_a_whole_response_arrives_as_it_is(backend: Backend) -> None:
    with RawServer(lambda _: [response("200 OK", b"hello", "X-Some: Thing")]) as server:
        assert get(server.base_url, backend) == (200, b"hello")


def test_header_names_are_lower_case(backend: Backend) -> None:
    with (
        RawServer(lambda _: [response("200 OK", b"", "X-Some: Thing")]) as server,
        Response(Request("GET", server.base_url, {}), limits(), Clock(), backend) as got,
    ):
        assert got.headers["x-some"] == "Thing"


def test_chunks_cut_anywhere_give_the_same_lines(backend: Backend) -> None:
    def script(_: str) -> Iterator[bytes]:
        body = b"4\r\none\n\r\n" + b"2\r\ntw\r\n" + b"3\r\no\n3\r\n" + b"0\r\n\r\n"
        yield CHUNKED
        yield from (body[i : i + 1] for i in range(len(body)))

    with (
        RawServer(script) as server,
        Response(Request("GET", server.base_url, {}), limits(), Clock(), backend) as got,
    ):
        assert list(got.lines()) == [b"one", b"two", b"3"]


def test_path_headers_and_body_are_sent(backend: Backend) -> None:
    with RawServer(lambda _: [response("200 OK", b"")]) as server:
        request = Request("POST", f"{server.base_url}/a/b?c=d", {"X-Key": "v"}, b"body")
        with Response(request, limits(), Clock(), backend) as got:
            got.read()
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a/b?c=d HTTP/1.1")
    assert b"x-key: v" in head.lower()
    assert body == b"body"


def test_a_refused_connection_is_unreachable_at_once(backend: Backend) -> None:
    began = time.monotonic()
    with pytest.raises(AttemptError, match="Connection refused") as raised:
        get(refused_url(), backend)
    assert raised.value.outcome is Outcome.UNREACHABLE
    assert raised.value.closes_endpoint
    assert time.monotonic() - began < 2


def test_a_server_that_listens_and_never_accepts_is_caught_by_the_first_byte_limit(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(AttemptError, match=r"no answer began for 0\.2 s") as raised:
            get(url, backend, limits(first_byte=0.2))
    assert raised.value.outcome is Outcome.TIMEOUT


def test_headers_that_never_come_are_caught_by_the_first_byte_limit(backend: Backend) -> None:
    found = fails(lambda _: [b"HTTP/1.1 200 OK\r\n", FOREVER], backend, limits(first_byte=0.2))
    assert found.outcome is Outcome.TIMEOUT


def test_silence_in_the_middle_is_caught_by_the_idle_limit(backend: Backend) -> None:
    found = fails(lambda _: [CHUNKED, b"1\r\nx\r\n", FOREVER], backend, limits(idle=0.2))
    assert found.outcome is Outcome.TIMEOUT
    assert "the answer stopped for 0.2 s" in found.detail


def test_a_server_that_drips_cannot_outlast_the_deadline(backend: Backend) -> None:
    def drip(_: str) -> Iterator[bytes | float]:
        yield CHUNKED
        while True:
            yield from (b"1\r\nx\r\n", 0.05)

    began = time.monotonic()
    found = fails(drip, backend, limits(total=0.6))
    assert found.outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "script",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
        [CHUNKED + b"5\r\nab"],
        [CHUNKED + b"2\r\nab\r\n"],
        [CHUNKED + b"zz\r\nab\r\n"],
        [b""],
        [b"not http at all\r\n\r\n"],
    ],
    ids=["short body", "cut chunk", "no last chunk", "bad chunk size", "closed at once", "not http"],
)
def test_a_broken_response_is_broken_and_worth_another_try(script: list[bytes], backend: Backend) -> None:
    found = fails(lambda _: script, backend)
    assert found.outcome is Outcome.BROKEN
    assert found.retry


def test_a_redirect_is_not_followed(backend: Backend) -> None:
    with RawServer(lambda _: [response("200 OK", b"elsewhere")]) as other:
        moved = response("302 Found", b"", f"Location: {other.base_url}/")
        with RawServer(lambda _: [moved]) as server:
            assert get(server.base_url, backend)[0] == 302
        assert other.requests == []


def test_a_response_without_end_is_given_up(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backlog_ops.llm.transport.MAX_RESPONSE_BYTES", 100)

    def endless(_: str) -> Iterator[bytes]:
        yield CHUNKED
        while True:
            yield b"20\r\n" + b"x" * 32 + b"\r\n"

    assert "larger than 100 bytes" in fails(endless, backend).detail


def test_leaving_a_response_early_closes_its_connection(backend: Backend) -> None:
    closed = threading.Event()

    def script(_: str) -> Iterator[bytes | float]:
        yield CHUNKED
        try:
            while True:
                yield from (b"1\r\nx\r\n", 0.01)
        finally:
            closed.set()

    with (
        RawServer(script) as server,
        Response(Request("GET", server.base_url, {}), limits(), Clock(), backend) as got,
    ):
        assert got.status == 200
    assert closed.wait(5)


ADDRESSES_THAT_ARE_NONE = [
    "localhost:11434",
    "ftp://127.0.0.1/",
    "http://",
    "",
    "http:///path",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:port",
    "http://[::1",
]


@pytest.mark.parametrize("url", ADDRESSES_THAT_ARE_NONE)
def test_an_address_that_is_none_is_rejected(url: str) -> None:
    with pytest.raises(AttemptError) as raised:
        send(Request("GET", url, {}), limits(), Clock())
    assert raised.value.outcome is Outcome.REJECTED
    assert not is_loopback(url)
    assert origin(url) == "the base URL"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.9.8.7", "http://localhost:1", "http://[::1]:1"])
def test_loopback_is_recognised(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://127.0.0.1.example.invalid", "http://localhost.invalid"])
def test_what_only_looks_like_loopback_is_not(url: str) -> None:
    assert not is_loopback(url)


def test_an_address_is_shown_without_its_password() -> None:
    assert origin("https://user:secret@host.invalid:8443/path?key=secret") == "https://host.invalid:8443"
