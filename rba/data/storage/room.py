"""Whether the cache can hold what a run reads at once; who may download how far ahead."""

import shutil
from collections.abc import Sequence

from rba.data.storage.folders import RemoteFolder, ShardFolder
from rba.data.storage.settings import StorageSettings
from rba.data.writer import ShardEntry
from rba.errors import InputError


def require_room(
    readers: Sequence[tuple[ShardFolder, Sequence[ShardEntry], int]], settings: StorageSettings
) -> None:
    """Hold the cache against what the shard sets of a run need at once, and share it out.

    Args:
        readers: Of each shard set the folder, the shards, and how many of them are read at once.
        settings: Of the cache.

    Raises:
        InputError: If the cache or the disk is too small, with the size that is enough.
    """
    needs = [
        (folder, sum(sorted((entry.bytes for entry in entries), reverse=True)[:window]))
        for folder, entries, window in readers
        if isinstance(folder, RemoteFolder)
    ]
    total = sum(need for _, need in needs)
    if total > settings.cache_bytes:
        raise InputError(
            f"data.storage.cache_gigabytes={settings.cache_gigabytes:g} is too small: the shards "
            f"of the shuffle windows need {_gigabytes(total)} at once; set it to "
            f"{_gigabytes(2 * total)}, so that the next windows can come meanwhile, or give "
            "smaller shards or a smaller shuffle_window"
        )
    for folder, need in needs:
        free = shutil.disk_usage(folder.cache.folder).free + folder.cache.bytes_used()
        if free < total:
            raise InputError(
                f"data.storage.cache_folder={folder.cache.folder} has room for "
                f"{_gigabytes(free)} GB, the shuffle windows need {_gigabytes(total)}; free space "
                "or give another folder"
            )
        folder.bytes_ahead = settings.cache_bytes * need // total


def _gigabytes(size: int) -> str:
    return f"{size / 1e9 * 1.0005:.3g}"  # rounded up, so that the number is enough
