"""The command as a user gives it: settings, exit status, kills, and what it never shows."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rba.data.sample import decode_record
from rba.data.shards import ShardSet
from rba.errors import InputError
from rba.settings import compose_config

ROOT = Path(__file__).parents[3]
NAME = "download_pixabay"


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "data_tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool(server, clock, monkeypatch):
    """Run the command in this process against the server, by its clock."""
    monkeypatch.setenv("PIXABAY_API_KEY", server.key)
    module = load(NAME)
    monkeypatch.setattr(module, "Clock", lambda: clock)

    def run(*overrides):
        module.main(compose_config(f"data_tools/{NAME}", [f"base_url={server.url}", *overrides]))

    return run


def pictures(folder):
    """All pictures and sidecars; the day of the download apart."""
    found = {}
    for path in folder.glob("[0-9]*"):
        data = path.read_bytes()
        if path.suffix == ".json":
            data = {k: v for k, v in json.loads(data).items() if k != "downloaded"}
        found[path.name] = data
    return found


def test_from_queries_to_pictures(server, tool, tmp_path, capsys):
    server.found = {"cat": [1, 2, 3], "yellow flower": [3, 4]}
    file = tmp_path / "queries.txt"
    file.write_text("yellow flower\n")
    out = tmp_path / "out 'ä'"
    tool("queries=[cat]", f"queries_file={file}", f'out="{out}"')
    assert set(pictures(out)) == {f"{n}.{s}" for n in (1, 2, 3, 4) for s in ("jpg", "json")}
    asked = server.searches()[0]
    assert asked["image_type"] == "photo"
    assert asked["safesearch"] == "true"
    assert asked["per_page"] == "200"
    printed = capsys.readouterr().out
    assert "downloaded                               4" in printed
    assert "found by an earlier query                1" in printed
    tool("queries=[cat]", f"queries_file={file}", f'out="{out}"')
    assert "already there                            4" in capsys.readouterr().out


def test_shards_keep_author_licence_and_source(server, tool, tmp_path):
    server.found["cat"] = [1, 2, 3]
    tool("queries=[cat]", f"out={tmp_path / 'photos'}")
    loose = ["shortest_side=16", "min_sharpness=0", "min_contrast=0", "near_distance=-1"]
    name = "build_alignment_shards"
    given = [f"images={tmp_path / 'photos'}", f"out={tmp_path / 'shards'}", "workers=1", *loose]
    load(name).main(compose_config(f"data_tools/{name}", given))
    shards = ShardSet.open(tmp_path / "shards")
    facts = [decode_record(shards.kind, *shards.read(0, n)).metadata for n in range(3)]
    assert {fact["source"] for fact in facts} == {
        f"https://pixabay.com/photos/blossom-{number}/" for number in (1, 2, 3)
    }
    assert all(fact["author"] == "Josch13" for fact in facts)
    assert all(fact["license"] == "Pixabay Content License" for fact in facts)
    assert all(fact["license_url"].startswith("https://pixabay.com/") for fact in facts)


def test_authors_who_refuse_training_are_left_out_by_default(server, tool, tmp_path):
    server.found["cat"] = [1, 2, 3]
    server.flags[1]["noAiTraining"] = True
    server.flags[2]["isAiGenerated"] = True
    tool("queries=[cat]", f"out={tmp_path}")
    report = json.loads((tmp_path / "download_report.json").read_text())
    assert report["left_out"] == {"isAiGenerated": [2], "noAiTraining": [1]}
    tool("queries=[cat]", f"out={tmp_path}", "leave_out=[]")
    assert {"1.jpg", "2.jpg", "3.jpg"} <= set(pictures(tmp_path))


def test_exit_status_1_if_some_failed_and_0_when_they_came(server, tool, tmp_path, capsys):
    server.found["cat"] = [1, 2]
    server.faults["2"] = [(500, {}, b"")] * 3
    with pytest.raises(SystemExit) as caught:
        tool("queries=[cat]", f"out={tmp_path}", "retries=2")
    assert caught.value.code == 1
    assert "the same command tries them again" in capsys.readouterr().out
    report = json.loads((tmp_path / "download_report.json").read_text())
    assert report["failed"] == {"status 500": [2]}
    tool("queries=[cat]", f"out={tmp_path}", "retries=2")
    assert json.loads((tmp_path / "download_report.json").read_text())["failed"] == {}


def test_nothing_found_is_an_error_with_a_way_out(server, tool, tmp_path):
    with pytest.raises(InputError, match="no picture fits; give other queries"):
        tool("queries=[qwertz,asdf]", f"out={tmp_path}")
    report = json.loads((tmp_path / "download_report.json").read_text())
    assert set(report["queries"]) == {"qwertz", "asdf"}


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("queries=[]", "no query"),
        (f"queries=[{'x' * 101}]", "101 characters"),
        ("size=tiny", "size=tiny"),
        ("limit=501", "limit=501"),
        ("per_page=2", "per_page=2"),
        ("connections=0", "connections=0; give 1 to 32"),
        ("requests_per_minute=0", "requests_per_minute=0"),
        ("timeout=0", "timeout=0"),
        ("category=cats", "animals"),
        ("base_url=http://pixabay.com/api/", "https"),
        ("colors=red", "colors=red must be a list"),
        ("queries_file=none.txt", "none.txt"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_asked(server, tool, tmp_path, setting, named):
    with pytest.raises(InputError, match=named):
        tool("queries=[cat]", f"out={tmp_path / 'out'}", setting)
    assert server.asked == []
    assert not (tmp_path / "out").exists()


def test_a_check_asks_nothing_and_needs_no_key(server, tool, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PIXABAY_API_KEY")
    queries = ",".join(f"q{number}" for number in range(250))
    tool(f"queries=[{queries}]", f"out={tmp_path / 'out'}", "check=true")
    printed = capsys.readouterr().out
    assert "requests to the API, about             750" in printed
    assert "minutes under the rate limit             7" in printed
    assert "not set" in printed
    assert "permission" in printed
    assert server.asked == []
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="PIXABAY_API_KEY is not set"):
        tool("queries=[cat]", f"out={tmp_path / 'out'}")


def test_a_stop_by_the_user_is_no_traceback(server, tool, tmp_path, monkeypatch, capsys):
    server.found["cat"] = list(range(1, 40))
    asked = server.answer

    once = threading.Lock()

    def interrupted(url):
        # Connections count at once: 12 may be passed between two looks.
        if len(server.files()) >= 12 and once.acquire(blocking=False):
            signal.raise_signal(signal.SIGINT)
        return asked(url)

    monkeypatch.setattr(server, "answer", interrupted)
    # A shell that started the tests in the background has them ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as caught:
            tool("queries=[cat]", f"out={tmp_path}")
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.code == 130
    assert "stopped; the same command goes on" in capsys.readouterr().out
    monkeypatch.undo()
    assert 1 <= len(list(tmp_path.glob("*.jpg"))) < 39
    assert not list(tmp_path.glob(".*.partial"))


def command(server, out, *settings):
    return [
        sys.executable, str(ROOT / "data_tools" / f"{NAME}.py"), "queries=[cat,pet]",
        f"out={out}", f"base_url={server.url}", "connections=3", *settings,
    ]  # fmt: skip


@pytest.fixture
def environment(real_server):
    return os.environ | {"PIXABAY_API_KEY": real_server.key, "PYTHONPATH": str(ROOT)}


def test_killed_and_started_again_equals_uninterrupted(real_server, environment, tmp_path, picture):
    server = real_server
    server.found = {"cat": list(range(1, 61)), "pet": list(range(41, 81))}
    whole, out = tmp_path / "whole", tmp_path / "killed"
    given = {"env": environment, "text": True, "check": True, "capture_output": True}
    subprocess.run(command(server, whole, "per_page=30"), **given)
    server.asked.clear()
    server.delay = 0.03
    with subprocess.Popen(command(server, out, "per_page=30"), env=environment) as process:
        wait_for(lambda: len(list(out.glob("*.jpg"))) >= 15)
        os.kill(process.pid, signal.SIGKILL)
    half = pictures(out)
    assert 15 <= len([name for name in half if name.endswith(".jpg")]) < 80
    for name, data in half.items():  # whatever has its final name is whole
        if name.endswith(".jpg"):
            assert data == picture(int(name[:-4]))
            assert name.replace(".jpg", ".json") in half
    searches, before = len(server.searches()), len(server.files())
    assert searches >= 1
    server.delay = 0.0
    ended = subprocess.run(command(server, out, "per_page=30"), **given)
    assert pictures(out) == pictures(whole)
    assert not list(out.glob(".*.partial"))
    assert len(server.searches()) == 4, "what was answered before the kill is not asked again"
    again = len(server.files()) - before
    assert again == 80 - sum(name.endswith(".jpg") for name in half)
    shown = ended.stdout + ended.stderr
    files = b"".join(path.read_bytes() for path in tmp_path.glob("**/*") if path.is_file())
    assert server.key not in shown
    assert server.key.encode() not in files


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


def test_the_command_tells_a_wrong_key_in_one_line(real_server, environment, tmp_path):
    environment["PIXABAY_API_KEY"] = "wrong-key-77"
    ended = subprocess.run(
        command(real_server, tmp_path / "out"), env=environment, text=True, capture_output=True
    )
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("error: Pixabay refuses the key in PIXABAY_API_KEY (status 400")
    assert "wrong-key-77" not in ended.stdout + ended.stderr
