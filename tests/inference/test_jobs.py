"""Lists of jobs: three forms with the same content, and every mistake named with its line."""

import json
from pathlib import Path

import pytest

from rba.errors import InputError
from rba.inference.jobs import Job, read_jobs


def test_three_forms_of_one_list(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "image": "a/image.png", "mask": "a/mask.png", "reference": "a/reference.jpg"},
        {
            "id": "b",
            "image": "b/image.png",
            "mask": "b/mask.png",
            "reference": ["b/reference_0.png", "b/reference_1.png"],
            "reference_mask": [None, "b/reference_mask_1.png"],
        },
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "list.jsonl").write_text("\n".join([lines[0], "", lines[1]]) + "\n")
    (tmp_path / "list.csv").write_text(
        "\ufeffmask,id,image,reference,reference_mask\n"
        "a/mask.png,a,a/image.png,a/reference.jpg,\n"
        "b/mask.png,b,b/image.png,b/reference_0.png;b/reference_1.png,;b/reference_mask_1.png\n"
    )
    for name in ("a/image", "a/mask", "b/image", "b/mask", "b/reference_0", "b/reference_1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "a" / "reference.jpg").touch()
    (tmp_path / "b" / "reference_mask_1.png").touch()
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "no_job").mkdir()
    from_lines = read_jobs(tmp_path / "list.jsonl")
    assert from_lines == read_jobs(tmp_path / "list.csv") == read_jobs(tmp_path)
    assert from_lines[1] == Job(
        id="b",
        image=tmp_path / "b/image.png",
        mask=tmp_path / "b/mask.png",
        references=(tmp_path / "b/reference_0.png", tmp_path / "b/reference_1.png"),
        reference_masks=(None, tmp_path / "b/reference_mask_1.png"),
    )


def test_the_id_is_the_image_name_and_absolute_paths_stay(tmp_path: Path) -> None:
    row = {"image": "/pictures/mug.png", "mask": "m.png", "reference": "r.png"}
    (tmp_path / "list.jsonl").write_text(json.dumps(row))
    job = read_jobs(tmp_path / "list.jsonl")[0]
    assert job.id == "mug"
    assert job.image == Path("/pictures/mug.png")
    assert job.mask == tmp_path / "m.png"


GOOD = '{"image": "a.png", "mask": "m.png", "reference": "r.png"}'


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.jsonl", "", "no job"),
        ("x.jsonl", "{", "x.jsonl:1 is no JSON"),
        ("x.jsonl", GOOD + "\n[1]", "x.jsonl:2: give an object"),
        ("x.jsonl", GOOD + "\n" + GOOD, "id 'a' is taken by .*x.jsonl:1"),
        ("x.jsonl", GOOD.replace('"mask"', '"masks"'), "'masks' is unknown"),
        ("x.jsonl", GOOD.replace('"m.png"', "3"), "mask is 3"),
        ("x.jsonl", GOOD.replace('"r.png"', "[]"), "reference has 0 paths; give at least 1"),
        ("x.jsonl", GOOD.replace('"r.png"', "[null]"), "give the path of a file"),
        ("x.jsonl", GOOD.replace("}", ', "id": "../a"}'), "is no file name"),
        ("x.jsonl", GOOD.replace("}", ', "id": null}'), "id None"),
        ("x.jsonl", GOOD.replace("}", ', "reference_mask": ["a", "b"]}'), "2 paths; give 1"),
        ("x.csv", "image,mask,reference\n", "no job"),
        ("x.csv", "image,mask,reference\na.png,m.png\n", "x.csv:2: .*header's columns"),
        ("x.csv", "image,mask,reference\na.png,m.png,r.png,more\n", "header's columns"),
        ("x.csv", "image,mask\na.png,m.png\n", "reference is None"),
        ("x.txt", "a", "give a .jsonl file, a .csv file or a folder"),
    ],
)
def test_mistakes_name_their_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_jobs(tmp_path / name)


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_jobs(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no job"):
        read_jobs(tmp_path)
    (tmp_path / "latin.jsonl").write_bytes(b'{"image": "\xe9.png"}')
    with pytest.raises(InputError, match="UTF-8"):
        read_jobs(tmp_path / "latin.jsonl")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "image.png").touch()
    with pytest.raises(InputError, match=r"holds no mask\.png"):
        read_jobs(tmp_path)
