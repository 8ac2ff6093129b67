"""Files of hits onto the disk, over several connections."""

import concurrent.futures
import datetime
import io
from collections.abc import Iterable
from typing import Any

from PIL import Image

from rba.data.pixabay.api import Hit, read_hit
from rba.data.pixabay.client import PixabayClient
from rba.data.pixabay.fetch import Fetcher, FetchError
from rba.data.pixabay.folder import SUFFIXES, PictureFolder
from rba.data.pixabay.report import DownloadReport

# What a URL answers when its day is over, or when the picture was taken back.
_EXPIRED_STATUSES = (400, 403, 404, 410)


class Downloader:
    """Download, check and store pictures.

    Args:
        fetcher: For files.
        client: Gives fresh URLs for those that have expired.
        folder: Where pictures go.
        size: Name of the files' size.
    """

    def __init__(
        self, fetcher: Fetcher, client: PixabayClient, folder: PictureFolder, size: str
    ) -> None:
        self.fetcher = fetcher
        self.client = client
        self.folder = folder
        self.size = size

    def run(self, hits: Iterable[Hit], connections: int, report: DownloadReport) -> None:
        """Store the pictures of all hits; failures are counted, the rest goes on.

        Args:
            hits: Taken one after another, only a few ahead of the downloads.
            connections: At most so many at a time.
            report: Counts what becomes of them.

        Raises:
            InputError: If the disk is full or the API refuses the key.
        """
        pool = concurrent.futures.ThreadPoolExecutor(connections, "pixabay")
        waiting: dict[concurrent.futures.Future[int], Hit] = {}
        try:
            for hit in hits:
                waiting[pool.submit(self.store, hit)] = hit
                if len(waiting) >= 2 * connections:
                    _collect(waiting, report)
            while waiting:
                _collect(waiting, report)
        except BaseException:
            self.fetcher.clock.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def store(self, hit: Hit) -> int:
        """Download one picture.

        Returns:
            Bytes stored.

        Raises:
            FetchError: If it cannot be had.
            InputError: If the disk is full or the API refuses the key.
        """
        try:
            body, facts = self._picture(hit)
        except FetchError as error:
            if error.status not in _EXPIRED_STATUSES:
                raise
            facts = self.client.look_up(hit.id)
            fresh = read_hit(facts, self.size, hit.query)
            if fresh is None or fresh.url == hit.url:
                raise
            body, facts = self._picture(fresh)
        suffix = facts.pop("suffix")
        today = datetime.datetime.fromtimestamp(self.fetcher.clock.now(), datetime.UTC).date()
        stored = {"size": self.size, **facts, "downloaded": today.isoformat()}
        self.folder.store(hit.id, suffix, body, hit.sidecar(**stored))
        return len(body)

    def _picture(self, hit: Hit) -> tuple[bytes, dict[str, Any]]:
        if hit.url is None:
            raise FetchError(f"no file of size {self.size}")
        return self.fetcher.get(hit.url, lambda body: (body, picture_facts(body)))


def picture_facts(body: bytes) -> dict[str, Any]:
    """Decode a picture and return its suffix, width and height in pixels.

    Raises:
        FetchError: If it is none, or not whole.
    """
    try:
        with Image.open(io.BytesIO(body)) as picture:
            picture.load()
    # Damaged bytes make Pillow's decoders raise nearly anything: OSError, SyntaxError, TypeError.
    except Exception:
        raise FetchError("damaged or no picture", temporary=True) from None
    if picture.format not in SUFFIXES:
        raise FetchError(f"picture of format {picture.format}")
    width, height = picture.size
    return {"suffix": SUFFIXES[picture.format], "width": width, "height": height}


def _collect(waiting: dict[concurrent.futures.Future[int], Hit], report: DownloadReport) -> None:
    """Count the downloads that have ended; wait for one if there is none."""
    ended, _ = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in ended:
        hit = waiting.pop(future)
        try:
            report.store(future.result())
        except FetchError as error:
            report.fail(str(error), hit.id)
