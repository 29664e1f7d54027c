"""A model hub of our own on 127.0.0.1, so that the real downloading code has something to ask.

It speaks the part of the hub's HTTP that `huggingface_hub.hf_hub_download` uses: HEAD and GET of
`/{repo}/resolve/{revision}/{file}` with ETag, X-Repo-Commit, ranges, the hub's own error codes and
its redirects from a model's former name.
"""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves the folders under `root` as models; use as a context manager.

    Args:
        root: `root/owner/name/file` is the file `file` of the model `owner/name`.
        moved: former name of a model -> its name now.
    """

    def __init__(self, root: Path, moved: dict[str, str] | None = None) -> None:
        self.root = root
        self.moved = moved or {}
        self.requests: list[str] = []  # "GET owner/name/file", in the order they came
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self)

            def do_GET(self) -> None:
                hub.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass  # pytest's output has better things to show

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From here on, connections are refused."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        repo, found, rest = unquote(urlsplit(request.path).path).strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        self.requests.append(f"{request.command} {repo}/{name}")
        if not found or revision not in ("main", COMMIT):
            return _send(request, 404, {"X-Error-Code": "RevisionNotFound"})
        if repo in self.moved:
            now = f"/{self.moved[repo]}/resolve/{revision}/{name}"
            return _send(request, 307, {"Location": now})
        if not (self.root / repo).is_dir():
            return _send(request, 401, {"X-Error-Code": "RepoNotFound"})
        if not (self.root / repo / name).is_file():
            missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return _send(request, 404, missing)
        content = (self.root / repo / name).read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        asked = request.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return _send(request, 200, headers, content)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return _send(request, 206, headers, content[start : end + 1])


def _send(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes = b""
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
