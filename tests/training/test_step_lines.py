"""Lines of several ranks in one file: none is torn, none is parted by an empty one."""

import json
import multiprocessing
import os
from pathlib import Path

from rba.training.step_lines import append_line, whole_lines

LINES, PROCESSES = 1500, 3
FACTS = {"sample_ids": ["photos/alignment-000001/photo009"] * 40}  # longer than a third of a page


def write_lines(path: Path, rank: int) -> None:
    for step in range(LINES):
        append_line(path, {"step": step, "rank": rank, **FACTS})


def test_lines_of_several_processes_are_whole_and_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_lines, args=(path, r)) for r in range(PROCESSES)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES
    lines = path.read_text().split("\n")
    assert lines.pop() == ""
    assert "" not in lines
    found = sorted((facts["step"], facts["rank"]) for facts in map(json.loads, lines))
    assert found == [(step, rank) for step in range(LINES) for rank in range(PROCESSES)]


def test_a_line_behind_a_torn_one_is_not_lost_with_it(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    append_line(path, {"step": 0})
    os.truncate(path, path.stat().st_size - 3)
    append_line(path, {"step": 1})
    assert whole_lines(path) == [{"step": 1}]
