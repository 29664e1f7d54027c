"""Requests to a web server: network errors as one exception, and a few header fields.

Python's own HTTP client is used: it is always there, and it never unpacks a body by itself.
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
    """A failed request.

    Args:
        why: the reason, for people.
        again: whether another try with the same server may succeed.
        wait: seconds to wait before it.
    """

    def __init__(self, why: str, *, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(why)
        self.again = again
        self.wait = wait


@contextmanager
def network(patience: float) -> Iterator[None]:
    """Turn network errors into a Fault.

    Args:
        patience: seconds without a byte after which a connection counts as broken.
    """
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
        reason_text = visible(str(reason).strip() or type(reason).__name__)
        if isinstance(error, ValueError | http.client.InvalidURL):
            raise Fault(f"it is no address to fetch from ({reason_text})") from error
        raise Fault(f"the connection broke ({reason_text})", again=True) from error


def opener() -> urllib.request.OpenerDirector:
    """A client for HTTP and HTTPS, with redirects and proxies.

    Not Python's usual one: a redirect could lead that to file:// and ftp:// addresses.
    """
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
    """Return what identifies this version of a file: a strong ETag, else its time of change.

    If-Range takes either (RFC 9110, 13.1.5).
    """
    tag: str = headers.get("ETag", "")
    modified: str | None = headers.get("Last-Modified")
    return tag if tag.startswith('"') else modified


def retry_after(value: str) -> float:
    """Seconds to wait, given as a number or a date (RFC 9110, 10.2.3); 0 for anything else."""
    if value.strip().isdecimal():
        return min(float(value), LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, min(moment - time.time(), LONGEST_WAIT))
