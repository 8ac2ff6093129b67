"""One cache of whole shards: shared by processes, bounded, never in the way of a reader."""

import json
import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from rba.batch import Mode
from rba.data.sample import RecordError
from rba.data.shards import ShardSet
from rba.data.storage.cache import CachedFile, FileCache
from rba.data.storage.settings import StorageSettings
from rba.errors import InputError

KEYS = [f"{number:04d}" for number in range(23)]


def cached(folder):
    """The whole files of a cache and their bytes."""
    return {path.name: path.stat().st_size for path in Path(folder).iterdir() if path.is_file()}


def tar_sizes(server):
    return [path.stat().st_size for path in sorted(server.folder.glob("*.tar"))]


def digest(server, number):
    manifest = json.loads((server.folder / "manifest.json").read_text())
    return manifest["shards"][number]["sha256"]


def read_all(url, settings, keys, barrier):
    shards = ShardSet.open(url, Mode.ALIGNMENT, settings)
    barrier.wait()
    keys.put([shards.read(n, i)[0] for n, size in enumerate(shards.sizes) for i in range(size)])


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_share_the_cache_and_download_each_shard_once(server, settings, method):
    context = multiprocessing.get_context(method)
    keys, barrier = context.Queue(), context.Barrier(4)
    processes = [
        context.Process(target=read_all, args=(server.url, settings(), keys, barrier))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    read = [keys.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert read == [KEYS] * 4
    for path, size in zip(sorted(server.folder.glob("*.tar")), tar_sizes(server), strict=True):
        assert server.bytes_asked(path.name) == size


def test_a_second_run_downloads_nothing(server, remote, all_keys):
    assert all_keys(remote()) == KEYS
    server.requests.clear()
    assert all_keys(remote()) == KEYS
    assert {name for method, name, _ in server.requests if method == "GET"} == {"manifest.json"}


def test_the_cache_stays_within_its_bound(server, remote, tmp_path, all_keys):
    sizes = tar_sizes(server)
    bound = 2 * max(sizes) + 4000  # two tars and the indices
    shards = remote(cache_gigabytes=bound / 1e9)
    for number, size in enumerate(shards.sizes):
        for index in range(size):
            shards.read(number, index)
            assert sum(cached(tmp_path / "cache").values()) <= bound
    assert all_keys(shards) == KEYS, "what was dropped comes again"


def test_the_least_recently_needed_shard_goes_first(server, remote, tmp_path, eventually):
    sizes = tar_sizes(server)
    shards = remote(cache_gigabytes=(3 * max(sizes) + 4000) / 1e9)
    for number in (0, 1, 2):
        shards.read(number, 0)
        time.sleep(0.01)
    shards.will_need((0, 3))  # 0 is needed again, so 1 is the oldest
    eventually(lambda: f"{digest(server, 3)}.tar" in cached(tmp_path / "cache"))
    tars = {name for name in cached(tmp_path / "cache") if name.endswith(".tar")}
    assert tars == {f"{digest(server, number)}.tar" for number in (0, 2, 3)}


def test_a_shard_that_is_read_may_be_dropped(server, remote, tmp_path):
    shards = remote()
    shards.read(1, 0)
    for path in (tmp_path / "cache").glob("*.tar"):
        path.unlink()
    server.requests.clear()
    assert shards.read(1, 4)[0] == "0009"
    assert server.requests == [], "an open file stays readable"


def test_shards_behind_the_order_are_closed(remote):
    shards = remote()
    for number in range(5):
        shards.read(number, 0)
    before = len(os.listdir("/proc/self/fd"))
    shards.will_need((4,))
    assert before - len(os.listdir("/proc/self/fd")) == 4


def test_needs_of_several_parts_of_the_order_add_up(remote):
    shards = remote()
    shards.read(0, 0)
    shards.will_need((0, 1), part=0)
    shards.will_need((2, 3), part=1)
    assert set(shards._open) == {0}


def test_a_cached_file_that_was_cut_comes_again(server, remote, tmp_path):
    remote().read(0, 0)
    tar = tmp_path / "cache" / f"{digest(server, 0)}.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    assert remote().read(0, 4)[0] == "0004"


def test_what_a_dead_process_left_makes_room(tmp_path):
    cache = FileCache(tmp_path, 1000)
    left = CachedFile("a.tar", "a" * 64, 900)
    with cache.writing(left, None):
        cache.set_aside(left)
        file = CachedFile("b.tar", "b" * 64, 500)
        with cache.writing(file, None):
            cache.set_aside(file)
        assert cache.partial(left).exists(), "it is coming just now"
        cache.drop(file)
    with cache.writing(file, None):
        cache.set_aside(file)
    assert not cache.partial(left).exists()


def test_only_one_writes_a_file(tmp_path):
    cache, file = FileCache(tmp_path, 1000), CachedFile("a.tar", "a" * 64, 1)
    with cache.writing(file, None) as first, cache.writing(file, None) as second:
        assert (first, second) == (True, False)


def test_prefetch_brings_what_is_needed_and_no_more_than_there_is_room(
    server, remote, tmp_path, eventually
):
    sizes = tar_sizes(server)
    shards = remote(cache_gigabytes=(sum(sizes[:3]) + 4000) / 1e9)
    shards.will_need((0, 1, 2, 3, 4))
    wanted = {f"{digest(server, number)}.tar" for number in range(3)}
    whole = {".tar": 3, ".npy": 3}
    eventually(lambda: Counter(Path(n).suffix for n in cached(tmp_path / "cache")) == whole)
    assert wanted < set(cached(tmp_path / "cache"))
    server.requests.clear()
    assert [shards.read(number, 0)[0] for number in range(3)] == ["0000", "0005", "0010"]
    assert server.requests == []


def test_prefetch_that_fails_leaves_the_fault_to_the_reader(server, remote):
    shards = remote()
    (server.folder / "alignment-000001.tar").unlink()
    shards.will_need((1, 2))
    with pytest.raises(RecordError, match="is missing"):
        shards.read(1, 0)
    assert shards.read(2, 0)[0] == "0010"


BAD = [
    ({"cache_gigabytes": 0.0}, "cache_gigabytes=0.0; give more than 0"),
    ({"retry_seconds": -1.0}, "retry_seconds=-1.0"),
    ({"timeout_seconds": float("nan")}, "timeout_seconds=nan"),
    ({"downloads": 0}, "downloads=0; give at least 1"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_settings_out_of_bounds_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        StorageSettings(**values)


def test_a_cache_smaller_than_a_shard_is_refused(server, remote):
    with pytest.raises(InputError, match=r"cache_gigabytes=1e-06 is smaller than one shard"):
        remote(cache_gigabytes=1e-6)


def test_a_cache_folder_that_cannot_be_used_is_refused(server, as_nobody, tmp_path):
    folder, run = as_nobody
    (folder / "cache").mkdir(mode=0o555)
    blocked = folder / "file"
    blocked.write_text("")
    for path in (folder / "cache", blocked):
        settings = StorageSettings(cache_folder=str(path))
        with pytest.raises(InputError, match=rf"cache_folder={path} cannot be used.*; give"):
            run(lambda settings=settings: ShardSet.open(server.url, storage=settings))
    server_requests = [name for _, name, _ in server.requests]
    assert server_requests == [], "nothing is asked for before"


def test_the_default_cache_lies_where_caches_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert StorageSettings().cache_path == tmp_path / "refine-by-align" / "shards"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert StorageSettings().cache_path == Path.home() / ".cache" / "refine-by-align" / "shards"
