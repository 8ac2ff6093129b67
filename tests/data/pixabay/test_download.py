"""Files onto the disk: whole, with their licence, several at a time, or counted by reason."""

import errno
import io
import json
import os
import threading
import time

import pytest
from PIL import Image

from rba.data.pixabay.api import Filters, read_hit
from rba.data.pixabay.client import AnswerCache, PixabayClient
from rba.data.pixabay.download import Downloader, picture_facts
from rba.data.pixabay.fetch import Fetcher, FetchError, Secret, open_session
from rba.data.pixabay.folder import PictureFolder
from rba.data.pixabay.limit import Clock, RateLimit
from rba.data.pixabay.plan import Search
from rba.data.pixabay.report import DownloadReport
from rba.errors import InputError

SIZE = "large"
KEY = "1234-abc"


@pytest.fixture
def download(server, fetcher, tmp_path):
    """Download all pictures of queries into ``tmp_path/out`` and return the report."""

    def run(*queries, connections=2, size=SIZE, leave_out=()):
        folder = PictureFolder(tmp_path / "out")
        client = PixabayClient(fetcher, server.url, AnswerCache(folder.state, fetcher.clock))
        files = Fetcher(
            fetcher.session,
            RateLimit(fetcher.clock, None, 60.0),
            secret=fetcher.secret, retries=3, timeout=5.0,
        )  # fmt: skip
        search = Search(
            client, queries, Filters(), limit=500, per_page=200, size=size, leave_out=leave_out
        )
        report = DownloadReport(len(queries), 500)
        with folder.opened(size):
            hits = search.missing(folder, report)
            Downloader(files, client, folder, size).run(hits, connections, report)
            report.finish(folder, client.num_requests, 1.0)
        return report

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_pictures_lie_beside_who_made_them_and_under_which_licence(
    server, download, picture, tmp_path
):
    server.found["yellow flower"] = [195893]
    report = download("yellow flower")
    found = contents(tmp_path / "out")
    assert set(found) == {"195893.jpg", "195893.json", "download_report.json"}
    assert found["195893.jpg"] == picture(195893)
    assert json.loads(found["195893.json"]) == {
        "source": "https://pixabay.com/photos/blossom-195893/",
        "author": "Josch13",
        "author_id": 48777,
        "author_url": "https://pixabay.com/users/Josch13-48777/",
        "license": "Pixabay Content License",
        "license_url": "https://pixabay.com/service/license-summary/",
        "id": 195893, "type": "photo", "tags": ["blossom", "bloom", "flower"],
        "original_width": 4000, "original_height": 2250, "ai_generated": None,
        "query": "yellow flower", "size": "large", "width": 40, "height": 30,
        "downloaded": "2023-11-14",
    }  # fmt: skip
    assert report.complete


def test_text_that_is_no_unicode_stops_nothing(server, download, tmp_path):
    server.found["cat"] = [1]
    server.flags[1] = {"tags": "half \ud800, Grüße", "user": None}
    assert download("cat").complete
    facts = json.loads((tmp_path / "out" / "1.json").read_text(encoding="utf-8"))
    assert facts["tags"] == ["half ?", "Grüße"]
    assert facts["author_url"] is None


def test_what_is_there_is_not_asked_again_and_duplicates_come_once(server, download, tmp_path):
    server.found = {"cat": [1, 2, 3], "pet": [3, 4]}
    report = download("cat", "pet")
    assert sorted(server.files()) == [1, 2, 3, 4]
    assert (report.downloaded, report.duplicates, report.already_there) == (4, 1, 0)
    (tmp_path / "out" / "2.json").unlink()  # a picture without its licence is none
    before = contents(tmp_path / "out")
    report = download("cat", "pet")
    assert server.files()[4:] == [2]
    assert (report.downloaded, report.duplicates, report.already_there) == (1, 1, 3)
    assert len(server.searches()) == 2, "the answers of the first run are kept"
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before if name != "download_report.json"} == {
        name: data for name, data in before.items() if name != "download_report.json"
    }


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b"oops"), (200, {}, b"<html>one moment</html>"), (-1, {}, b""), (200, {}, b""),
        (200, {"Cut": "40"}, b"\xff\xd8\xff"), (429, {"Retry-After": "5"}, b"slow down"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_fault_now_and_then_costs_no_picture(server, download, picture, fault, tmp_path):
    server.found["cat"] = list(range(1, 9))
    for number in (2, 5, 6):
        server.faults[str(number)] = [fault, fault]
    report = download("cat")
    assert report.complete
    found = contents(tmp_path / "out")
    assert all(found[f"{number}.jpg"] == picture(number) for number in range(1, 9))


def test_a_body_cut_short_is_seen_with_and_without_its_length(server, download, picture, tmp_path):
    server.found["cat"] = [1, 2, 3]
    server.bodies[2] = picture(2)[:-200]  # the length that is announced is the short one
    server.faults["3"] = [(200, {"Cut": "200"}, picture(3)[:-200])] * 4
    report = download("cat")
    assert report.failed == {"damaged or no picture": [2], "truncated": [3]}
    assert set(contents(tmp_path / "out")) == {"1.jpg", "1.json", "download_report.json"}
    del server.bodies[2]
    report = download("cat")  # the same command tries again what failed
    assert report.complete
    assert (report.downloaded, report.already_there) == (2, 1)


def test_failures_are_counted_by_reason_and_the_rest_goes_on(server, download, tmp_path, capsys):
    server.found["cat"] = list(range(1, 8))
    server.flags[1] = {"largeImageURL": None}
    server.flags[2] = {"largeImageURL": "file:///etc/passwd"}
    server.flags[3] = {"isAiGenerated": True}
    server.faults["4"] = [(503, {}, b"")] * 4
    tiff, gif = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    Image.new("RGB", (8, 8)).save(tiff, "TIFF")
    server.bodies |= {5: gif.getvalue(), 6: tiff.getvalue()}
    report = download("cat", leave_out=("noAiTraining", "isAiGenerated"))
    assert report.failed == {
        "no file of size large": [1], "no request: InvalidSchema": [2], "status 503": [4],
        "picture of format GIF": [5], "picture of format TIFF": [6],
    }  # fmt: skip
    assert report.left_out == {"isAiGenerated": [3]}
    written = json.loads((tmp_path / "out" / "download_report.json").read_text())
    assert written["failed"] == report.failed
    assert written["downloaded"] == 1
    table = capsys.readouterr().out
    assert "failed: status 503" in table
    assert "left out: isAiGenerated" in table


def test_png_and_webp_keep_their_suffix(server, download, tmp_path):
    server.found["cat"] = [1, 2]
    for number, kind in ((1, "PNG"), (2, "WEBP")):
        stream = io.BytesIO()
        Image.new("RGBA", (9, 7), (255, 0, 0, 128)).save(stream, kind)
        server.bodies[number] = stream.getvalue()
    download("cat")
    assert {"1.png", "1.json", "2.webp", "2.json"} <= set(contents(tmp_path / "out"))
    assert download("cat").already_there == 2


def test_urls_that_expired_are_asked_for_again(server, download, picture, clock, tmp_path):
    server.found["cat"] = [1, 2, 3]
    server.faults["3"] = [(-1, {}, b"")] * 4
    assert download("cat").failed == {"connection failed": [3]}
    # The answer of the search is kept for a moment more; its URLs end during the first back-off.
    clock.time = min(int(path.split("/")[4]) for path in urls(tmp_path)) + 24 * 3600 - 0.3
    server.faults["3"] = [(500, {}, b"")]
    server.asked.clear()
    report = download("cat")
    assert report.complete
    assert [parameters.get("id") for parameters in server.searches()] == ["3"]
    assert server.files() == [3, 3, 3]
    assert contents(tmp_path / "out")["3.jpg"] == picture(3)


def urls(tmp_path):
    for path in (tmp_path / "out" / ".pixabay").glob("*.json"):
        yield from (hit["largeImageURL"] for hit in json.loads(path.read_text())["answer"]["hits"])


def test_a_picture_that_was_taken_back_is_counted(server, download):
    server.found["cat"] = [1, 2]
    server.faults["1"] = [(404, {}, b"")] * 2
    server.faults["2"] = [(403, {}, b"forbidden")] * 9
    server.faults["api"] = []
    report = download("cat")
    assert report.failed == {"status 403": [2], "status 404": [1]}


@pytest.mark.parametrize("connections", [1, 2, 5])
def test_so_many_connections_and_not_one_more(server, download, connections):
    server.found["cat"] = list(range(1, 21))
    server.together = threading.Barrier(connections)  # no file comes before so many are asked for
    assert download("cat", connections=connections).downloaded == 20
    assert server.most_at_once == connections


def test_a_full_disk_stops_with_a_way_out_and_no_half_file(server, download, monkeypatch, tmp_path):
    server.found["cat"] = list(range(1, 30))
    real, written = os.fsync, []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 12:  # the answer, three pictures with sidecars, and then no more
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"out: the disk is full; free space, then the same command goes on"
    ):
        download("cat", connections=1)
    found = contents(tmp_path / "out")
    pictures = [name for name in found if name.endswith(".jpg")]
    assert 1 <= len(pictures) <= 3
    assert all(f"{name[:-4]}.json" in found for name in pictures)
    assert not [name for name in found if name.startswith(".")]
    monkeypatch.undo()
    assert download("cat").already_there == len(pictures)


def test_a_refused_key_on_the_way_ends_the_download(server, download):
    server.found["cat"] = [1]
    server.faults["1"] = [(404, {}, b"")]
    server.faults["api"] = []
    download("cat")
    server.found["dog"] = [2]
    server.key = "withdrawn"
    with pytest.raises(InputError, match="refuses the key"):
        download("cat", "dog")


def test_threads_that_wait_end_with_the_download(real_server, tmp_path, monkeypatch):
    """One picture is told to wait for an hour while the other one finds the disk full."""
    server, clock, folder = real_server, Clock(), PictureFolder(tmp_path / "out")
    server.found["cat"], server.delay = [2, 1], 0.05
    server.faults["1"] = [(429, {"Retry-After": "3600"}, b"")]
    limit, told = RateLimit(clock, None, 60.0), threading.Event()
    block = limit.block
    monkeypatch.setattr(limit, "block", lambda seconds: (block(seconds), told.set()))

    def refuse(*_):
        assert told.wait(5)
        raise InputError("full")

    monkeypatch.setattr(folder, "store", refuse)
    with open_session(2) as session, folder.opened(SIZE):
        files = Fetcher(session, limit, secret=Secret(KEY), retries=3, timeout=5.0)
        client = PixabayClient(files, server.url, AnswerCache(folder.state, clock))
        hits = [read_hit(server.hit(number), SIZE, "cat") for number in (2, 1)]
        report = DownloadReport(1, 2)
        started = time.monotonic()
        with pytest.raises(InputError, match="full"):
            Downloader(files, client, folder, SIZE).run(hits, 2, report)
        report.bar.close()
    assert time.monotonic() - started < 5


def test_two_runs_do_not_share_a_folder(tmp_path):
    folder, other = PictureFolder(tmp_path), PictureFolder(tmp_path)
    with folder.opened(SIZE), pytest.raises(InputError, match="another download runs"):
        other.opened(SIZE).__enter__()
    with other.opened(SIZE):
        pass


def test_sizes_are_not_mixed(server, download, tmp_path):
    server.found["cat"] = [1]
    download("cat")
    with pytest.raises(InputError, match="size=large; give size=large or another out"):
        download("cat", size="webformat")
    (tmp_path / "out" / "1.json").write_text("{}")
    with pytest.raises(InputError, match=r"1\.json is no sidecar"):
        download("cat")


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    for name in (".7.jpg.partial", "7.json", "notes.txt", "8.jpg", "9.json", "9.jpg", "x.jpg"):
        (tmp_path / name).write_text('{"size": "large"}')
    folder = PictureFolder(tmp_path)
    with folder.opened(SIZE):
        assert [number for number in range(20) if folder.holds(number)] == [9]
    assert set(contents(tmp_path)) == {"7.json", "notes.txt", "8.jpg", "9.json", "9.jpg", "x.jpg"}


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"), PictureFolder(tmp_path / "file").opened("x"):
        pass
    with pytest.raises(OSError, match="Not a directory"):  # tool_main names the path
        PictureFolder(tmp_path / "file" / "deep").opened(SIZE).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError) as caught, PictureFolder(tmp_path).opened(SIZE):
            pass
        assert str(tmp_path) in str(caught.value.filename)
    finally:
        tmp_path.chmod(0o700)


def test_pictures_are_decoded_to_the_last_row(picture):
    whole = picture(3)
    assert picture_facts(whole) == {"suffix": ".jpg", "width": 40, "height": 30}
    for body in (b"", b"<html></html>", whole[:20], whole[:-60], whole[: len(whole) // 2]):
        with pytest.raises(FetchError, match="damaged or no picture"):
            picture_facts(body)
