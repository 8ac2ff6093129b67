import json

import pytest

from rba.data.objects import PairChoice, View, ViewPair, list_pairs
from rba.errors import InputError


def listed(path):
    return list_pairs(str(path), "auto", PairChoice())


def test_tables_and_json_lines_say_the_same(tmp_path):
    rows = [
        {"target": "cup/a b.jpg", "reference": "cup/ä'.jpg", "target_mask": "m/1.png",
         "reference_mask": "m/2.png", "correspondence": "c.png", "object": "the cup",
         "licence": "CC0"},
        {"target": "https://a.org/x.jpg", "reference": "/far/y.jpg"},
    ]  # fmt: skip
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "pairs.jsonl").write_text(lines + "\n")
    columns = list(rows[0])
    for name, mark in (("pairs.csv", ","), ("pairs.tsv", "\t")):
        table = [mark.join(columns), *(mark.join(r.get(c, "") for c in columns) for r in rows)]
        (tmp_path / name).write_text("\ufeff" + "\n".join(table) + "\n", encoding="utf-8")
    expected = [
        ViewPair("the cup", View("cup/a b.jpg", "m/1.png"), View("cup/ä'.jpg", "m/2.png"),
                 "c.png", {"licence": "CC0"}),
        ViewPair("https:/a.org", View("https://a.org/x.jpg"), View("/far/y.jpg")),
    ]  # fmt: skip
    for name in ("pairs.jsonl", "pairs.csv", "pairs.tsv"):
        pairs = listed(tmp_path / name)
        assert pairs.layout == "pairs"
        assert pairs.root == str(tmp_path)
        assert [pair for _, pair in pairs] == expected
        assert pairs.dropped == []


def test_rows_that_name_no_pair_are_counted_by_line(tmp_path):
    rows = ['{"target": "a", "reference": "b", "n": NaN}', "{", "[1]", '{"target": "a"}', "",
            '{"target": "a", "reference": 5}', '{"target": " ", "reference": "b"}',
            '{"target": "a", "reference": "\\ud800"}',
            '{"target": "a", "reference": "b", "target_mask": 1}']  # fmt: skip
    (tmp_path / "p.jsonl").write_text("\n".join(rows))
    pairs = listed(tmp_path / "p.jsonl")
    assert [pair.facts for _, pair in pairs] == [{"n": None}]
    reason = "row without target and reference"
    assert pairs.dropped == [(reason, f"p.jsonl line {n}") for n in (2, 3, 4, 6, 7, 8, 9)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.csv", b"target,other\na,b\n", "no column reference; there are target, other"),
        ("p.csv", b"", "no column target"),
        ("p.csv", b'target,reference\n"a,b\n', r"line \d"),
        ("p.csv", b"target,reference\n\xff,b\n", "not UTF-8"),
        ("p.csv", b"target,reference\n", "holds no pair"),
        ("p.jsonl", b"{\n", "1 x row without target and reference"),
    ],
)
def test_files_that_are_no_list(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        listed(tmp_path / name)
