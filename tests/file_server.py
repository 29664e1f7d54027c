"""A web server on 127.0.0.1 that misbehaves on demand, for the code that must survive such servers.

Each path has a content and a list of tricks: the first request meets the first trick, and so on;
when they have run out the server is an honest one, with ranges, If-Range, an ETag.
"""

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Trick = Callable[["FileServer", BaseHTTPRequestHandler, bytes], None]
PIECE = 4096


class FileServer:
    """Use as a context manager; `put` files into it, see in `requests` what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tricks: dict[str, list[Trick]] = {}
        self.requests: list[tuple[str, str, str]] = []  # path, Range, If-Range
        self.sent = 0  # bytes of bodies
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = self.headers.get("Range", ""), self.headers.get("If-Range", "")
                server.requests.append((self.path, *asked))
                waiting = server.tricks.get(self.path, [])
                trick = waiting.pop(0) if waiting else honest
                try:
                    trick(server, self, server.files.get(self.path, b""))
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put(self, path: str, content: bytes, *tricks: Trick) -> str:
        """Serve `content` at `path`, after these tricks; returns the address."""
        self.files[path] = content
        self.tricks[path] = list(tricks)
        return self.url + path

    @property
    def ranges(self) -> list[str]:
        return [asked for _, asked, _ in self.requests]


def send(
    server: FileServer,
    request: BaseHTTPRequestHandler,
    content: bytes,
    *,
    ranges: bool = True,
    shift: int = 0,
    stop: int | None = None,
    reset: bool = False,
    stall: bool = False,
    pause: float = 0.0,
    chunked: bool = False,
    endless: bool = False,
    length: bool = True,
    validators: bool = True,
    if_range: bool = True,
    headers: dict[str, str] | None = None,
) -> None:
    """The file, or the range of it that was asked for, with whatever is wrong with this server.

    Args:
        shift: bytes by which ranges begin too late.
        stop: bytes of the body after which it ends: `reset`, `stall`, or else by closing.
        pause: seconds between pieces.
        chunked, length: how the end of the body is announced; neither: by closing.
        endless: go on after the content until nobody listens.
        if_range: whether a changed file is noticed.
    """
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    same = request.headers.get("If-Range", etag) == etag or not if_range
    start = 0
    if asked and ranges and same:
        start = int(asked[1]) + shift
        if start >= len(content):
            return status(416, {"Content-Range": f"bytes */{len(content)}"})(
                server, request, content
            )
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    else:
        request.send_response(200)
    body = content[start:]
    if validators:
        request.send_header("ETag", etag)
    if chunked:
        request.send_header("Transfer-Encoding", "chunked")
    elif length:
        request.send_header("Content-Length", str(len(body)))
    else:
        request.close_connection = True
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    whole = body if stop is None else body[:stop]
    place = 0
    while place < len(whole) or endless:
        piece = whole[place : place + PIECE] or b"x" * PIECE
        request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        place += len(piece)
        server.sent += len(piece)
        if pause:
            time.sleep(pause)
    if stop is not None:
        if stall:
            server.over.wait(20)
        if reset:  # with linger 0, closing sends RST at once
            linger = struct.pack("ii", 1, 0)
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.close_connection = True
    elif chunked:
        request.wfile.write(b"0\r\n\r\n")


def trick(**options: object) -> Trick:
    """`send` with these options."""
    return partial(send, **options)  # type: ignore[arg-type]


honest = trick()


def status(code: int, headers: dict[str, str] | None = None) -> Trick:
    """A status without a file."""

    def answer(server: FileServer, request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(code)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def other(content: bytes, **options: object) -> Trick:
    """Another content than the path has."""
    return lambda server, request, _: send(server, request, content, **options)  # type: ignore[arg-type]


def silence(server: FileServer, request: BaseHTTPRequestHandler, content: bytes) -> None:
    """No answer at all."""
    server.over.wait(20)
    request.close_connection = True


def gibberish(server: FileServer, request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Something that is not HTTP."""
    request.wfile.write(b"\x16\x03\x01 what?\r\n\r\n")
    request.close_connection = True
