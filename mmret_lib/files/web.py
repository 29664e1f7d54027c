"""Ask a web server, and turn all that can go wrong between here and there into a `Fault`.

Python's own HTTP client does the talking: no other one is sure to be there, and it never unpacks a
body behind our back.
"""

import email.utils
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmret_lib.files.errors import visible

LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for


class Fault(Exception):
    """A try that failed: why, whether the same server may do better, and in how many seconds."""

    def __init__(self, why: str, *, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(why)
        self.again = again
        self.wait = wait


@contextmanager
def network(patience: float) -> Iterator[None]:
    """Turn what can go wrong between here and a server into a Fault."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Fault(f"its certificate is not valid ({reason.verify_message})") from error
        if isinstance(reason, TimeoutError):
            raise Fault(f"nothing came for {patience:g} s", again=True) from error
        words = visible(str(reason).strip() or type(reason).__name__)
        if isinstance(error, ValueError | http.client.InvalidURL):
            raise Fault(f"it is no address to fetch from ({words})") from error
        raise Fault(f"the connection broke ({words})", again=True) from error


def opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS, redirects, proxies; not file:// and ftp://, which redirects may lead to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def validator_of(headers: Any) -> str | None:
    """What If-Range may carry (RFC 9110, 13.1.5): a strong ETag, else the time of last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def retry_after(value: str) -> float:
    """Seconds to wait, from a number of them or a date (RFC 9110, 10.2.3); else 0."""
    if value.strip().isdecimal():
        return min(float(value), LONGEST_WAIT)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, min(then - time.time(), LONGEST_WAIT))
