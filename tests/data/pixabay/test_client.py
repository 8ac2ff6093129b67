"""Searches against a server that answers as the API documents."""

import json
import logging
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rba.data.pixabay.api import Filters, make_filters, read_hit, require_size
from rba.data.pixabay.client import AnswerCache, PixabayClient, require_base_url
from rba.data.pixabay.fetch import FetchError, Secret, read_key
from rba.data.pixabay.folder import PictureFolder
from rba.data.pixabay.limit import RateLimit
from rba.data.pixabay.plan import Search, describe_plan, read_queries
from rba.data.pixabay.report import DownloadReport
from rba.errors import InputError

BAD_GATEWAY = (502, {}, b"<html>bad gateway</html>")


@pytest.fixture
def client(server, fetcher, tmp_path):
    return PixabayClient(fetcher, server.url, AnswerCache(tmp_path / "answers", fetcher.clock))


def make_search(client, queries, **settings):
    given = {"limit": 500, "per_page": 200, "size": "large", "leave_out": ("noAiTraining",)}
    return Search(client, queries, Filters(), **given | settings)


def missing(search, tmp_path):
    report = DownloadReport(len(search.queries), search.limit)
    hits = list(search.missing(PictureFolder(tmp_path), report))
    report.bar.close()
    return [hit.id for hit in hits], report


def test_all_that_is_set_is_sent_as_documented(client, server):
    filters = Filters(
        lang="de", image_type="photo", orientation="vertical", category="food",
        colors=("red", "grayscale"), min_width=512, min_height=400, editors_choice=True,
        safesearch=True, order="latest",
    )  # fmt: skip
    server.found["gelbe Blume & mehr"] = [7, 8]
    page = client.search("gelbe Blume & mehr", filters, 1, 50)
    assert [hit["id"] for hit in page.hits] == [7, 8]
    assert server.searches() == [{
        "key": server.key, "q": "gelbe Blume & mehr", "lang": "de", "image_type": "photo",
        "orientation": "vertical", "category": "food", "colors": "red,grayscale",
        "min_width": "512", "min_height": "400", "editors_choice": "true", "safesearch": "true",
        "order": "latest", "page": "1", "per_page": "50",
    }]  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"image_type": "video"}, "image_type=video; Pixabay knows all, photo"),
        ({"orientation": "square"}, "horizontal"),
        ({"category": "cats"}, "animals"),
        ({"colors": ["red", "mauve"]}, "colors=mauve"),
        ({"lang": "xx"}, "cs, da"),
        ({"order": "newest"}, "latest"),
        ({"min_width": -1}, "min_width=-1"),
    ],
)
def test_filters_that_the_api_does_not_know_are_refused(setting, named):
    defaults = {
        "lang": "en", "image_type": "all", "orientation": "all", "category": None, "colors": [],
        "min_width": 0, "min_height": 0, "editors_choice": False, "safesearch": False,
        "order": "popular",
    }  # fmt: skip
    assert make_filters(defaults) == Filters()
    with pytest.raises(InputError, match=named):
        make_filters(defaults | setting)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 560), per_page=st.integers(60, 200), limit=st.integers(1, 500))
@example(count=560, per_page=200, limit=500)
@example(count=120, per_page=60, limit=500)
@example(count=121, per_page=60, limit=120)
def test_paging_gives_the_first_hits_once_with_the_fewest_requests(
    server, client, tmp_path, count, per_page, limit
):
    query = f"{count} {per_page} {limit}"
    server.found[query] = list(range(1, count + 1))
    server.asked.clear()
    found, report = missing(
        make_search(client, [query], limit=limit, per_page=per_page), tmp_path / "none"
    )
    expected = list(range(1, min(count, 500, limit) + 1))
    assert found == expected
    assert report.complete
    asked_before = client.cache.find(server.searches()[0]) if server.searches() else None
    assert asked_before is None  # the key is no part of what is kept
    assert len(server.searches()) in (0, max(1, math.ceil(len(expected) / per_page)))


def test_a_search_that_shrinks_between_two_pages_ends(server, client, tmp_path):
    server.found["cat"] = list(range(1, 21))
    search = make_search(client, ["cat"], per_page=10)
    report = DownloadReport(1, 500)
    hits = search.missing(PictureFolder(tmp_path), report)
    first = [next(hits).id for _ in range(10)]
    server.found["cat"] = list(range(1, 6))
    assert [hit.id for hit in hits] == []
    assert first == list(range(1, 11))
    assert report.complete


def test_duplicates_over_queries_come_once_and_flags_leave_out(server, client, tmp_path):
    server.found = {"cat": [1, 2, 3, 4], "pet": [3, 4, 5, 1], "dog": []}
    server.flags[2] = {"noAiTraining": True}
    server.flags[5] = {"noAiTraining": False}
    server.flags[4] = {"largeImageURL": ""}  # no file: found, and fails later on
    found, report = missing(make_search(client, ["cat", "pet", "dog"], limit=3), tmp_path)
    assert found == [1, 3, 4, 5]
    assert report.left_out == {"noAiTraining": [2]}
    assert report.duplicates == 2
    assert report.queries == {
        "cat": {"accessible": 4, "taken": 3},
        "pet": {"accessible": 4, "taken": 3},
        "dog": {"accessible": 0, "taken": 0},
    }
    assert "dog" in report.table(3, 1.0)


@pytest.mark.parametrize(
    "given", [{"limit": 0}, {"limit": 501}, {"per_page": 2}, {"per_page": 201}]
)
def test_numbers_beyond_the_api_are_refused(client, given):
    with pytest.raises(InputError, match=f"{next(iter(given))}="):
        make_search(client, ["cat"], **given)


def test_answers_are_kept_a_day_and_never_with_the_key(server, client, clock, tmp_path):
    server.found["cat"] = [1, 2]
    server.flags[1] = {"tags": f"echo {server.key}"}
    for _ in range(3):
        assert len(client.search("cat", Filters(), 1, 20).hits) == 2
    assert len(server.searches()) == client.num_requests == 1
    clock.time += 24 * 3600 - 1
    client.search("cat", Filters(), 1, 20)
    assert len(server.searches()) == 1
    clock.time += 2
    client.search("cat", Filters(), 1, 20)
    assert len(server.searches()) == 2
    kept = [path.read_text() for path in (tmp_path / "answers").iterdir()]
    assert len(kept) == 1
    assert server.key not in kept[0]
    assert json.loads(kept[0])["request"]["q"] == "cat"


def test_a_damaged_kept_answer_is_asked_again(server, client, tmp_path):
    server.found["cat"] = [1]
    client.search("cat", Filters(), 1, 20)
    for text in ("", "[]", '{"asked_at": "x"}'):
        for path in (tmp_path / "answers").iterdir():
            path.write_text(text)
        assert len(client.search("cat", Filters(), 1, 20).hits) == 1
    assert len(server.searches()) == 4


def test_a_full_window_is_waited_out(server, client, clock):
    server.requests_per_window = 4
    client.fetcher.limit.requests = 1000  # the server's headers alone hold us back
    started = clock.time
    for number in range(12):
        client.search(str(number), Filters(), 1, 20)
    assert clock.time - started == pytest.approx(120, abs=5)
    assert len(server.searches()) == 12, "not one request met a 429"


@pytest.mark.parametrize(
    ("headers", "pause"),
    [({"Retry-After": "7"}, 7), ({"X-RateLimit-Reset": "33"}, 33), ({}, 60)],
)
def test_429_waits_as_long_as_the_server_says(server, client, clock, headers, pause):
    server.found["cat"] = [1]
    server.faults["api"] = [(429, headers, b"API rate limit exceeded")] * 2
    assert len(client.search("cat", Filters(), 1, 20).hits) == 1
    assert sum(clock.slept) == pytest.approx(2 * pause, abs=4)
    assert sum(clock.slept) >= 2 * pause - 1e-3


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, b"oops"), BAD_GATEWAY, (200, {}, b'{"total": 1, "hits": ['), (200, {}, b"[]"),
        (200, {}, b'{"totalHits": "3", "hits": []}'), (200, {}, b"\xff\xfe"), (-1, {}, b""),
        (200, {"Cut": "99"}, b'{"totalHits": 0, "hits": []}'), (408, {}, b""),
    ],
    ids=repr,
)  # fmt: skip
def test_faults_of_the_server_are_tried_again_with_growing_pauses(server, client, clock, fault):
    server.found["cat"] = [1]
    server.faults["api"] = [fault] * 3
    assert len(client.search("cat", Filters(), 1, 20).hits) == 1
    assert len(clock.slept) == 3
    for slept, longest in zip(clock.slept, (1, 2, 4), strict=True):
        assert longest / 2 <= slept <= longest


def test_retries_end_and_the_next_query_goes_on(server, client, tmp_path):
    server.found = {"cat": [1], "dog": [2]}
    server.faults["api"] = [BAD_GATEWAY] * 4  # the first attempt and three more
    found, report = missing(make_search(client, ["cat", "dog"]), tmp_path)
    assert found == [2]
    assert report.failed_queries == {"cat": "status 502: <html>bad gateway</html>"}
    assert not report.complete
    assert list((tmp_path / "answers").glob("*.json")), "errors are not kept, answers are"
    found, report = missing(make_search(client, ["cat", "dog"]), tmp_path)
    assert found == [1, 2]
    assert report.complete


def test_a_server_that_is_down_is_not_asked_for_hours(server, client, clock, tmp_path):
    server.found = {str(number): [number] for number in range(1, 9)}
    server.faults["api"] = [BAD_GATEWAY] * 99
    found, report = missing(make_search(client, list(server.found)), tmp_path)
    assert found == []
    assert len(report.failed_queries) == 8
    assert report.failed_queries["8"] == "not asked, as the API did not answer before"
    assert len(server.searches()) == 3 * 4
    # Requests that are refused for themselves do not count as an outage.
    server.faults["api"] = [(400, {}, b"[ERROR 400] no")] * 7
    found, report = missing(make_search(client, list(server.found)), tmp_path)
    assert found == [8]
    assert len(report.failed_queries) == 7


def test_a_refused_request_is_not_tried_again(server, client, clock):
    server.faults["api"] = [(400, {}, b'[ERROR 400] "category" is not valid.')]
    with pytest.raises(FetchError) as caught:
        client.search("cat", Filters(), 1, 20)
    assert caught.value.detail == '[ERROR 400] "category" is not valid.'
    assert clock.slept == []
    # "per_page" is another parameter than "page": its error is no end of the results.
    with pytest.raises(FetchError, match="status 400"):
        client.search("cat", Filters(), 1, 2)
    assert client.search("cat", Filters(), 9, 20).hits == ()


def test_a_wrong_key_stops_all_and_is_not_shown(server, client):
    server.key = "another"
    with pytest.raises(InputError, match=r"refuses the key.*Invalid or missing API key") as caught:
        client.search("cat", Filters(), 1, 20)
    assert client.fetcher.secret.value not in str(caught.value)


@pytest.mark.parametrize("fault", ["refused", "timeout", "closed", "redirect", "echo"])
def test_no_error_and_no_log_line_shows_the_key(server, client, caplog, fault, capfd):
    secret = client.fetcher.secret
    client.fetcher.retries = 1
    if fault == "refused":
        server.close()
        server.close = lambda: None
    elif fault == "timeout":
        client.fetcher.timeout = 0.05
        server.delay_api = True
        server.faults["api"] = [Slow(), Slow()]
    elif fault == "closed":
        server.faults["api"] = [(-1, {}, b"")] * 2
    elif fault == "redirect":
        server.faults["api"] = [(302, {"Location": f"/api/?key={server.key}&q=x"}, b"")] * 99
    else:
        text = f"[ERROR 400] no such parameter in key={server.key}"
        server.faults["api"] = [(400, {}, text.encode())]
    caplog.set_level(logging.DEBUG)
    with secret.hidden_from_logs(), pytest.raises(FetchError) as caught:
        client.search("cat", Filters(), 1, 20)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    shown = caplog.text + str(caught.value) + caught.value.detail + "".join(capfd.readouterr())
    for form in secret._forms:
        assert form not in shown
    assert "GET /api/" in caplog.text or fault in ("refused", "timeout", "closed")


class Slow(tuple):
    """An answer that comes too late."""

    def __new__(cls):
        return super().__new__(cls, (200, {}, b"{}"))

    def __iter__(self):
        import time

        time.sleep(0.15)
        return super().__iter__()


def test_the_key_comes_from_the_environment_alone(monkeypatch):
    monkeypatch.setenv("PIXABAY_API_KEY", " abc-1 ")
    assert read_key().value == "abc-1"
    assert "abc" not in repr(read_key())
    monkeypatch.setenv("PIXABAY_API_KEY", "my secret")
    with pytest.raises(InputError, match="copy it again") as caught:
        read_key()
    assert "secret" not in str(caught.value)
    monkeypatch.delenv("PIXABAY_API_KEY")
    with pytest.raises(InputError, match="PIXABAY_API_KEY is not set"):
        read_key()
    assert read_key(required=False).value == ""


def test_nothing_is_hidden_where_there_is_no_key():
    assert Secret("").hide("text") == "text"


@pytest.mark.parametrize(
    "url", ["http://pixabay.com/api/", "pixabay.com/api", "ftp://a.org/", "https://", ""]
)
def test_the_key_goes_to_no_unsafe_address(url):
    with pytest.raises(InputError, match="base_url="):
        require_base_url(url)
    assert require_base_url("https://pixabay.com/api/")
    assert require_base_url("http://localhost:80/api/")


def test_queries_from_list_and_file(tmp_path):
    file = tmp_path / "queries 'ä'.txt"
    file.write_text("\ufeff# animals\n cat \n\nyellow   flower\nGrüße\n", encoding="utf-8")
    assert read_queries(["dog", 2024, "cat"], str(file)) == [
        "dog", "2024", "cat", "yellow flower", "Grüße"
    ]  # fmt: skip
    assert read_queries([""], None) == [""]
    with pytest.raises(InputError, match="no query"):
        read_queries([], None)
    with pytest.raises(InputError, match="101 characters"):
        read_queries(["x" * 101], None)
    assert read_queries(["é" * 100], None)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_queries([], str(tmp_path / "none.txt"))
    file.write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_queries([], str(file))


def test_an_empty_query_asks_for_everything(server, client, tmp_path):
    server.found[""] = [1, 2]
    assert missing(make_search(client, [""]), tmp_path)[0] == [1, 2]
    assert "q" not in server.searches()[0]


def test_the_original_needs_an_approved_account(server, client, tmp_path):
    server.found["cat"] = [1]
    with pytest.raises(InputError, match="size=full needs an account"):
        missing(make_search(client, ["cat"], size="full"), tmp_path)
    server.approved = True
    assert read_hit(server.hit(1), "full", "cat").url.endswith("1_o.jpg")
    assert read_hit(server.hit(1), "fullhd", "cat").url.endswith("1_1920.jpg")
    assert read_hit(server.hit(1), "webformat", "cat").url.endswith("1_640.jpg")
    with pytest.raises(InputError, match="size=huge; give one of webformat, large"):
        require_size("huge")


@pytest.mark.parametrize("facts", [None, [], {}, {"id": "7"}, {"id": True}])
def test_what_is_no_hit(facts):
    assert read_hit(facts, "large", "cat") is None


def test_the_plan_counts_what_is_kept_and_asks_nothing(server, client, clock, tmp_path):
    server.found = {"cat": [1]}
    queries = [f"query {number}" for number in range(60)]
    search = make_search(client, ["cat", *queries])
    client.search("cat", Filters(), 1, 200)
    text = describe_plan(search, PictureFolder(tmp_path / "none"), RateLimit(clock, 100, 60.0))
    rows = dict(line.rsplit(maxsplit=1) for line in text.splitlines() if "only with" not in line)
    assert rows["requests to the API, about"] == "180"
    assert rows["answers of the last 24 hours"] == "1"
    assert rows["minutes under the rate limit"] == "1"
    assert rows["pictures wanted, at most"] == "30,500"
    assert "permission" in text
    assert client.fetcher.secret.value not in text
    assert len(server.searches()) == 1
