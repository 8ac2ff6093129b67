"""The bytes of an input: of a file, of a part of one, or behind a URL. Faults have reasons."""

import errno
import http.client
import os
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import fsspec

from rba.data.build.sizes import DroppedError

MOST_BYTES = 512 * 2**20
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 60.0  # seconds that a server's Retry-After is obeyed for
_AGENT = "refine-by-align (data_tools)"


def is_url(location: str) -> bool:
    """Return whether a location is a URL, not a path of this machine."""
    return "://" in location


def read_file(path: str | Path) -> bytes:
    """Read a file of this machine.

    Raises:
        DroppedError: With the reason.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DroppedError("not a file")
        if status.st_size == 0:
            raise DroppedError("empty file")
        _require_size(status.st_size)
        return Path(path).read_bytes()
    except OSError as error:
        raise DroppedError(_reason(error, path)) from error


def read_range(path: str | Path, offset: int, size: int) -> bytes:
    """Read a part of a file of this machine.

    Raises:
        DroppedError: With the reason.
    """
    if size == 0:
        raise DroppedError("empty file")
    _require_size(size)
    try:
        with open(path, "rb", buffering=0) as stream:
            data = os.pread(stream.fileno(), size, offset)
    except OSError as error:
        raise DroppedError(_reason(error, path)) from error
    if len(data) < size:
        raise DroppedError("cut short")
    return data


def read_url(url: str, *, tries: int = 4, timeout: float = 20.0, wait: float = 1.0) -> bytes:
    """Read what is behind a URL of http, or of any file system that fsspec knows.

    Args:
        url: Where.
        tries: How often a server that does not answer, or asks to come again, is asked.
        timeout: Of each answer, seconds.
        wait: Before the second try, seconds; doubled before each further one.

    Raises:
        DroppedError: With the reason.
    """
    reason = ""
    for attempt in range(tries):
        if attempt:
            time.sleep(wait)
            wait *= 2
        try:
            return _read_http(url, timeout) if url.startswith("http") else _read_fsspec(url)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"HTTP {error.code}"
            if error.code not in _AGAIN:
                break
            asked = error.headers.get("Retry-After", "")
            if asked.isdigit():
                wait = min(max(wait, float(asked)), _LONGEST_WAIT)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, (FileNotFoundError, http.client.InvalidURL)):
                raise DroppedError(
                    "missing" if isinstance(error, OSError) else "bad URL"
                ) from error
            reason = "no answer"
    raise DroppedError(reason)


def _read_http(url: str, timeout: float) -> bytes:
    quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    request = urllib.request.Request(quoted, headers={"User-Agent": _AGENT})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        data = answer.read(MOST_BYTES + 1)
        _require_size(len(data))
        promised = answer.headers.get("Content-Length", "")
    if promised.isdigit() and len(data) != int(promised):
        raise ConnectionError(f"{url} promised {promised} bytes and sent {len(data)}")
    if not data:
        raise DroppedError("empty file")
    return data


def _read_fsspec(url: str) -> bytes:
    try:
        opened = fsspec.open(url, "rb")
    except (ValueError, ImportError) as error:
        raise DroppedError(f"unknown protocol {url.partition('://')[0]}") from error
    with opened as stream:
        data: bytes = stream.read(MOST_BYTES + 1)  # pyright: ignore
    _require_size(len(data))
    if not data:
        raise DroppedError("empty file")
    return data


def _require_size(size: int) -> None:
    if size > MOST_BYTES:
        raise DroppedError(f"larger than {MOST_BYTES // 2**20} MiB")


def _reason(error: OSError, path: str | Path) -> str:
    if isinstance(error, FileNotFoundError):
        return "broken link" if os.path.islink(path) else "missing"
    if isinstance(error, PermissionError):
        return "no permission"
    if error.errno == errno.ELOOP:
        return "link loop"
    if isinstance(error, (NotADirectoryError, IsADirectoryError)):
        return "not a file"
    return "unreadable"
