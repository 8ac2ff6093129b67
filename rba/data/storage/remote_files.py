"""The files of one folder behind a URL, through fsspec: whole, in ranges, and their sizes."""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.registry import known_implementations

from rba.data.storage.errors import NoAnswerError
from rba.errors import InputError

_HTTP = ("http", "https")
_ASKED = 256  # sizes that are asked for one by one, where a server lists no folder
_AT_ONCE = 16


class RemoteFiles:
    """Files behind a URL. Travels to other processes; each opens connections of its own.

    Args:
        url: Of the folder, without a slash at its end.
        timeout: A server of http that is silent for so long has not answered, seconds.

    Raises:
        InputError: If fsspec does not know the protocol, or the package for it is missing.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self.protocol = url.partition("://")[0]
        self._opened: tuple[int, Any] | None = None
        try:
            self._files()
        except ImportError as error:
            package = str(known_implementations[self.protocol]["class"]).split(".")[0]
            raise InputError(
                f"{self.protocol}:// needs a package that is not installed; pip install {package}"
            ) from error
        except ValueError as error:
            raise InputError(
                f"{url}: {error}; give a folder, or s3://, gs://, http(s):// or hf://"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "timeout": self.timeout}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def read(self, name: str) -> bytes:
        """Read a whole file.

        Raises:
            FileNotFoundError: If the file system says that there is none.
            NoAnswerError: If it says anything else, or nothing.
        """
        with _answers():
            return self._files().cat_file(self._path(name))

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read bytes ``start`` to ``stop`` (exclusive), or fewer, or the whole file.

        Servers of http that know no ranges send the whole file.

        Raises:
            FileNotFoundError: If the file system says that there is none.
            NoAnswerError: If it says anything else, or nothing.
        """
        with _answers():
            return self._files().cat_file(self._path(name), start=start, end=stop)

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, None where it is missing or nobody says."""
        try:
            with _answers():
                files = self._files()
                files.invalidate_cache()
                size = files.info(self._path(name)).get("size")
        except (FileNotFoundError, NoAnswerError):
            return None
        return None if size is None else int(size)

    def sizes(self, names: Sequence[str]) -> dict[str, int | None]:
        """Return sizes as far as the file system tells; a file that it knows to be missing is None.

        A listing tells all sizes at once. Where there is none (http), at most 256 of the names are
        asked for, evenly spread.

        Raises:
            NoAnswerError: If there is no listing where there should be one.
        """
        if self.protocol in _HTTP:
            asked = names[:: -(-len(names) // _ASKED) or 1]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                told = zip(asked, pool.map(self.size, asked), strict=True)
                return {name: size for name, size in told if size is not None}
        try:
            with _answers():
                listing = self._files().ls(self._path(""), detail=True)
        except FileNotFoundError:
            listing = []
        found = {str(info["name"]).rsplit("/", 1)[-1]: info.get("size") for info in listing}
        return {name: found.get(name) for name in names}

    def _path(self, name: str) -> str:
        return f"{self.url}/{name}" if name else self.url

    def _files(self) -> Any:
        """Return this process's file system: connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            options = _http_options(self.timeout) if self.protocol in _HTTP else {}
            self._opened = os.getpid(), fsspec.filesystem(self.protocol, **options)
        return self._opened[1]


def _http_options(timeout: float) -> dict[str, Any]:
    import aiohttp

    silence = aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
    return {
        "client_kwargs": {"timeout": silence, "trust_env": True},
        # Offsets are those of the plain bytes.
        "headers": {"Accept-Encoding": "identity"},
    }


@contextmanager
def _answers() -> Generator[None]:
    """Tell a missing file from everything else that the many libraries below fsspec raise.

    Raises:
        FileNotFoundError: As it was raised.
        NoAnswerError: For anything else.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (ImportError, TypeError, AttributeError):
        raise  # ours, or a library's, to mend
    except Exception as error:
        raise NoAnswerError(f"{type(error).__name__}: {error}") from error
