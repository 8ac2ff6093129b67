"""What breaks on the way is asked for again; only bytes that are bad themselves are a fault."""

import itertools
import json
import threading
import time

import pytest

from rba.data.sample import RecordError
from rba.data.storage import download
from rba.data.storage.errors import StorageError

TAR = "alignment-000001.tar"
KEYS = [f"{number:04d}" for number in range(23)]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(download, "_PIECE", 4096)
    return 4096


def test_a_download_goes_on_where_it_broke(server, remote, all_keys, small_pieces):
    turn = itertools.count()
    server.faults = lambda name, span: "break" if span and next(turn) % 3 == 2 else None
    shards = remote()
    assert all_keys(shards) == KEYS
    size = (server.folder / TAR).stat().st_size
    breaks = sum(1 for n in range(next(turn)) if n % 3 == 2)
    assert breaks > 5
    assert size <= server.bytes_asked(TAR) < 1.8 * size  # a break costs a piece, not the tar


def test_a_process_goes_on_with_what_another_one_left(server, remote, small_pieces):
    size = (server.folder / TAR).stat().st_size
    server.faults = lambda name, span: 503 if span and span[0] >= 2 * small_pieces else None
    with pytest.raises(StorageError, match="503"):
        remote(retry_seconds=0.2).read(1, 0)
    server.faults = lambda name, span: None
    server.requests.clear()
    assert remote().read(1, 0)[0] == "0005"
    assert server.bytes_asked(TAR) == size - 2 * small_pieces


@pytest.mark.parametrize("fault", [503, 429, 403, "break"])
def test_faults_of_the_network_are_waited_out(server, remote, all_keys, fault):
    answers = [None, fault, fault]
    server.faults = lambda name, span: answers.pop(0) if answers else None
    assert all_keys(remote()) == KEYS
    assert answers == []


def test_a_server_that_is_away_for_a_while(server, remote):
    shards = remote()
    assert shards.read(0, 0)[0] == "0000"
    server.stop()
    threading.Timer(1.0, server.start).start()
    started = time.monotonic()
    assert shards.read(3, 0)[0] == "0015"
    assert time.monotonic() - started > 0.9


def test_a_server_that_stays_away_stops_the_run_and_replaces_nothing(server, remote):
    shards = remote(retry_seconds=0.5)
    server.stop()
    for _ in range(2):  # it is not taken for a fault of the sample the second time either
        with pytest.raises(StorageError, match=r"alignment-000000\.tar did not come for 0\.5 s"):
            shards.read(0, 0)
    server.start()
    assert shards.read(0, 0)[0] == "0000"


def test_a_silent_server_is_asked_again(server, remote):
    calls = []

    def silent(name, span):
        calls.append(name)
        if calls.count(TAR) == 1 and name == TAR:
            time.sleep(1.0)

    server.faults = silent
    assert remote(timeout_seconds=0.3).read(1, 0)[0] == "0005"
    assert calls.count(TAR) == 2


def fault_missing(path):
    path.unlink()


def fault_cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def fault_bytes(path):
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("fault", "message"),
    [(fault_missing, "missing .*000001"), (fault_cut, "size .*000001.tar has 1000 bytes"),
     (fault_bytes, "manifest says .*000001.tar has sha256")],
)  # fmt: skip
def test_bytes_that_are_bad_themselves_are_a_fault_of_the_samples(server, remote, fault, message):
    shards = remote()
    fault(server.folder / TAR)
    for index in range(5):
        with pytest.raises(RecordError, match=message):
            shards.read(1, index)
    asked = len(server.requests)
    with pytest.raises(RecordError, match=message):
        shards.read(1, 0)
    assert len(server.requests) == asked, "nobody asks again for each sample"
    assert shards.read(2, 0)[0] == "0010"


def test_wrong_bytes_on_the_way_are_asked_for_once_more(server, remote):
    wrong = [bytes(200_000)]
    server.faults = lambda name, span: wrong.pop() if name == TAR and wrong else None
    assert remote().read(1, 0)[0] == "0005"
    assert wrong == []


def test_bad_bytes_are_downloaded_twice_by_all_processes_together(server, remote):
    shards, others = remote(), remote()
    fault_bytes(server.folder / TAR)
    for opened in (shards, others):
        with pytest.raises(RecordError, match="sha256"):
            opened.read(1, 0)
    assert server.bytes_asked(TAR) == 2 * (server.folder / TAR).stat().st_size


@pytest.mark.parametrize("change", ["gone", "replaced"])
def test_a_folder_that_is_gone_or_replaced_is_no_fault_of_one_shard(server, remote, change):
    shards = remote(retry_seconds=1.5)
    manifest = server.folder / "manifest.json"
    facts = json.loads(manifest.read_text())
    for path in server.folder.iterdir():
        path.unlink()
    if change == "replaced":
        manifest.write_text(json.dumps({**facts, "settings": {"another": "build"}}))
    with pytest.raises(StorageError):
        shards.read(1, 0)


def test_an_index_that_is_wrong_is_a_fault_of_its_shard(server, remote):
    index = server.folder / "alignment-000001.index.npy"
    index.write_bytes((server.folder / "alignment-000000.index.npy").read_bytes())
    with pytest.raises(RecordError, match=r"alignment-000001\.index\.npy has sha256"):
        remote().read(1, 0)
