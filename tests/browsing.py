"""Servers and a browser for what a reader sees: JupyterLab, the page of `mmret app`, chromium.

Used by tests/show/test_browser.py and benchmarks/browser.py. Nothing here reads or writes the
user's own settings, listens to more than this machine, or outlives its `with`.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium")
PATIENCE = 120_000  # milliseconds: a kernel imports torch, perhaps on a machine that is busy
FIRST = ".mmret .hits > li >> nth=0"  # the first answer
MARK = "MMRET_BROWSING"  # in the environment of every process that a server starts

LAB_SETTINGS = {
    # or it asks whether it may ask the network
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # or cells that are out of sight are not in the document
    "notebook-extension/tracker": {"windowingMode": "none"},
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def marked(mark: str) -> list[int]:
    """The processes that a server started, however deep, as far as the system tells."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


class Server:
    """A web server in a process of its own, on a free port of this machine."""

    def __init__(self, arguments: list[Any], folder: Path, log: str) -> None:
        self.mark, self.port = secrets.token_hex(8), free_port()
        self.log = folder / log
        settings = folder / "settings"
        for name, chosen in LAB_SETTINGS.items():
            file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(chosen))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "IPYTHONDIR": str(folder / "ipython"),
            MARK: self.mark,
        }
        command = [str(part).replace("{port}", str(self.port)) for part in arguments]
        with self.log.open("wb") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Server":
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text(errors="replace")
                time.sleep(0.1)
        raise TimeoutError(self.log.read_text(errors="replace"))

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As a user would, and then nothing of it is left."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        until = time.monotonic() + 20  # kernels notice that their parent is gone
        while (left := marked(self.mark)) and time.monotonic() < until:
            time.sleep(0.1)
        for process in left:
            os.kill(process, signal.SIGKILL)
        assert not left, f"{len(left)} processes outlived their server"


def app_page(folder: Path, runs: list[Path]) -> Server:
    """The page of `mmret app`."""
    command = ["-m", "mmret_lib.cli", "app", *runs, "--no-browser", "--port", "{port}"]
    return Server(command, folder, "app.log")


TOKEN = secrets.token_hex(16)


def lab(folder: Path) -> Server:
    """JupyterLab, with a root folder of its own."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    options = [
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        f"--ServerApp.root_dir={root}",
        "--allow-root",
        f"--IdentityProvider.token={TOKEN}",
        "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    return Server(["-m", "jupyterlab", *options], folder, "lab.log")


def notebook(path: Path, *cells: str) -> None:
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(book, path)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's own; nothing is downloaded."""
    with sync_playwright() as playwright:
        # As root chromium starts without its sandbox only; the pages are ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and everything that went wrong on it or left this machine."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 960}} | options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.wrong: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.wrong.append(m.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("websocket", lambda socket: self._asked(socket.url))
        self.page.on("request", lambda request: self._asked(request.url))

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, url: str) -> None:
        here = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
        if not url.startswith(here):
            self.wrong.append(f"asked for {url}")


def run_all(page: Page) -> None:
    """Run → Run All Cells, until the kernel does: before it is connected, nothing happens."""
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.locator(".jp-StatusBar-TextItem, .jp-StatusBar-Item", has_text="| Idle").first.wait_for()
    for _ in range(10):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name=re.compile("^Run All Cells")).click()
        try:
            page.wait_for_function(
                """() => [...document.querySelectorAll('.jp-InputPrompt')]
                    .some(one => /\\[[*\\d]/.test(one.textContent))""",
                timeout=3000,
            )
            return
        except PlaywrightTimeoutError:
            continue
    raise AssertionError("the kernel runs no cell")
