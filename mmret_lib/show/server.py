"""Serve a page with Voila: to this machine alone unless told otherwise, and with no code run.

Voila serves app.ipynb, a notebook that calls `app.page`, which reads from the environment what to
show. The page loads nothing from elsewhere and sends nothing there.
"""

import ipaddress
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import ipywidgets

from mmret_lib.files.errors import DataError
from mmret_lib.files.output import say

SETTING = "MMRET_APP"  # the environment variable by which `serve` tells `page` what to show
PORTS = 20  # how many ports are tried, one after the other

# The page may load nothing from other servers, and send nothing to them.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss:; "
    "object-src 'none'; form-action 'self'"
)

# The JupyterLab extensions that the page needs; others on this machine are not loaded.
EXTENSIONS = [
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager7",
    "@voila-dashboards/widgets-manager8",
]


def import_voila() -> Any:
    """Import Voila's application class, which serves the page.

    Raises:
        DataError: Voila is not installed, or ipywidgets is older than 8, whose widgets it shows.
    """
    try:
        from voila.app import Voila
    except ImportError:
        raise DataError("the page needs Voila: pip install voila") from None
    if ipywidgets.__version__.startswith("7."):
        raise DataError(
            f"the page needs ipywidgets 8, and {ipywidgets.__version__} is installed (Colab has "
            'it): pip install "ipywidgets>=8", or use the explorer in a notebook'
        )
    return Voila


def launch(shows: dict[str, Any], *, host: str, port: int, browser: bool) -> None:
    """Start Voila, which shows `page` to every visitor, until it is stopped.

    Args:
        shows: the settings for `page`.
        host, port, browser: as for `serve`.
    """
    server = import_voila()
    port = _free_port(host, port)
    local = _is_local(host)
    if not local:
        say(
            f"warning: listening at {host}: everyone who can reach this machine can use the page, "
            "without a password, and each visit starts a Python process here",
            file=sys.stderr,
        )
    # Voila looks for its templates where Jupyter keeps its data; ours lies in this package.
    places = [str(Path(__file__).with_name("jupyter")), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, places))
    settings = {
        "headers": {"Content-Security-Policy": POLICY},
        # Against DNS rebinding: a foreign site can let its name point to this machine, but its
        # requests carry that name, and are refused.
        "allow_remote_access": not local,
    }
    arguments = [
        str(Path(__file__).with_name("app.ipynb")),
        "--preheat_kernel=True",  # the next visitor's page is computed before the visitor comes
        "--VoilaConfiguration.template=mmret",
        "--VoilaConfiguration.allow_template_override=NO",
        *(f"--VoilaConfiguration.extension_allowlist={name}" for name in EXTENSIONS),
        f"--Voila.ip={host}",
        f"--Voila.port={port}",
        "--Voila.port_retries=0",
        f"--Voila.open_browser={browser}",
        "--Voila.log_level=WARN",
    ]
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    place = f"[{shown}]" if ":" in shown else shown
    os.environ[SETTING] = json.dumps(shows)
    say(f"the page: http://{place}:{port}/  (Ctrl-C stops it)", flush=True)
    server.launch_instance(argv=arguments, tornado_settings=settings)


def _free_port(host: str, port: int) -> int:
    """The first port, from `port` on, that can be listened at."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem = "a port is a number from 1 to 65535"
    for candidate in range(max(1, port), min(port + PORTS, 65536)):
        try:
            socket.create_server((host, candidate), family=family).close()
            return candidate
        except OSError as error:
            problem = error.strerror or str(error)
    raise DataError(
        f"no port from {port} on can be listened at on {host} ({problem}); "
        "choose others with --host and --port"
    )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
