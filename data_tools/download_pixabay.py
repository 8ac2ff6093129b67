"""Download pictures with their licences through Pixabay's public API.

PIXABAY_API_KEY=KEY python data_tools/download_pixabay.py out=DIR "queries=[cat]" [key=value ...]
"""

import time
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from rba.data.pixabay.api import WINDOW_SECONDS, make_filters, require_size
from rba.data.pixabay.client import AnswerCache, PixabayClient, require_base_url
from rba.data.pixabay.download import Downloader
from rba.data.pixabay.fetch import Fetcher, open_session, read_key
from rba.data.pixabay.folder import PictureFolder
from rba.data.pixabay.limit import Clock, RateLimit
from rba.data.pixabay.plan import Search, describe_plan, read_queries
from rba.data.pixabay.report import DownloadReport
from rba.errors import InputError
from rba.settings import plain, tool_main

_BOUNDS = {
    "connections": (1, 32),
    "retries": (0, 20),
    "timeout": (0.1, 3600),
    "requests_per_minute": (1, 10_000),
}


def main(config: DictConfig) -> None:
    """Download what is missing; exit status 1 if some pictures or queries failed, 130 if stopped.

    Raises:
        InputError: If a setting or the key is refused, the disk is full, or nothing was found.
    """
    started = time.perf_counter()
    for name, (low, high) in _BOUNDS.items():
        if not low <= config[name] <= high:
            raise InputError(f"{name}={config[name]}; give {low} to {high}")
    settings = plain(config)
    clock, key = Clock(), read_key(required=not config.check)
    folder = PictureFolder(Path(config.out).expanduser())
    limit = RateLimit(clock, config.requests_per_minute, WINDOW_SECONDS)
    session = open_session(config.connections)
    fetcher = partial(Fetcher, secret=key, retries=config.retries, timeout=config.timeout)
    client = PixabayClient(
        fetcher(session, limit),
        require_base_url(config.base_url),
        AnswerCache(folder.state, clock),
    )
    search = Search(
        client,
        read_queries(settings["queries"], config.queries_file),
        make_filters(settings),
        limit=config.limit,
        per_page=config.per_page,
        size=require_size(config.size),
        leave_out=tuple(settings["leave_out"]),
    )
    print(describe_plan(search, folder, limit))
    if config.check:
        return
    files = fetcher(session, RateLimit(clock, None, WINDOW_SECONDS))
    with session, key.hidden_from_logs(), folder.opened(config.size):
        report = DownloadReport(len(search.queries), search.limit)
        downloader = Downloader(files, client, folder, config.size)
        try:
            downloader.run(search.missing(folder, report), config.connections, report)
        except KeyboardInterrupt:
            print("stopped; the same command goes on")
            raise SystemExit(130) from None
        finally:
            report.bar.close()
        report.finish(folder, client.num_requests, time.perf_counter() - started)
    report.require_found()
    if not report.complete:
        print("some failed; the same command tries them again")
        raise SystemExit(1)


if __name__ == "__main__":
    tool_main("download_pixabay", main)
