"""Where photos come from: trees, lists, tables and tars, with everything odd in them."""

import io
import json
import os
import tarfile

import pytest

from rba.data.photo_lists import list_photos
from rba.errors import InputError


def names(found):
    return [name for name, _ in found]


def test_a_tree_with_odd_names_is_listed_in_order(tmp_path):
    odd = [
        "a b.jpg",
        "it's.PNG",
        "ä/日本.jpeg",
        "x.y.z.webp",
        "one/same.jpg",
        "two/same.jpg",
        "n\nl.jpg",
    ]
    for name in [
        *odd,
        "photo.heic",
        "same.mask.png",
        "0-1.correspondence.png",
        ".hidden.jpg",
        "b.txt",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = list_photos(str(tmp_path))
    assert sorted(names(found)) == sorted([*odd, "photo.heic", "\ufffd.jpg"])
    assert names(found) == names(list_photos(str(tmp_path)))
    assert found.dropped == [("linked folder", "loop")]
    for name, photo in found:
        assert os.path.exists(os.path.join(found.root, photo.path)), name
    assert found[-1] == found[len(found) - 1]
    assert found[1:3] == [found[1], found[2]]


def test_a_folder_without_permission_is_counted(as_nobody):
    folder, run = as_nobody
    (folder / "open.jpg").touch()
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0)
    found = run(lambda: list_photos(str(folder)))
    assert names(found) == ["open.jpg"]
    assert found.dropped == [("no permission", "closed")]


def test_a_list_of_paths_and_urls(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\ufeffa.jpg\n\n  b c.jpg \r\nhttps://example.org/x?y=1\n/abs/d.png\n", "utf-8")
    found = list_photos(str(path))
    assert names(found) == ["a.jpg", "b c.jpg", "https://example.org/x?y=1", "/abs/d.png"]
    assert found.root == str(tmp_path)


def test_a_table_keeps_its_columns(tmp_path):
    table = tmp_path / "photos.csv"
    table.write_text(
        'id,url,author,licence\n1,http://a/1.jpg,"Ann, B.",CC0\n2,,x,\n3,http://a/3.jpg,,\n'
    )
    found = list_photos(str(table))
    assert [photo.facts for _, photo in found] == [
        {"id": "1", "author": "Ann, B.", "licence": "CC0"}, {"id": "3"},
    ]  # fmt: skip
    assert found.dropped == [("no path in the table", "row 2")]
    with pytest.raises(InputError, match="no column file_name; set column= to one of id, url"):
        list_photos(str(table), "file_name")
    assert names(list_photos(str(table), "licence")) == ["CC0"]
    (tmp_path / "photos.tsv").write_text("where\tname\nx.jpg\ta\n")
    with pytest.raises(InputError, match="no column of paths or URLs"):
        list_photos(str(tmp_path / "photos.tsv"))
    assert names(list_photos(str(tmp_path / "photos.tsv"), "where")) == ["x.jpg"]


@pytest.mark.parametrize("content", [b"path\n\xff\xfe\n", b'path,b\n"x'])
def test_a_table_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.csv"):
        list_photos(str(tmp_path / "a.csv"))


def test_a_parquet_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "photos.parquet"
    table = {"URL": ["http://a/1", None], "score": [0.5, float("nan")], "tags": [["x", "y"], []]}
    parquet.write_table(pyarrow.table(table), path)
    found = list_photos(str(path))
    assert [photo.facts for _, photo in found] == [{"score": 0.5, "tags": ["x", "y"]}]
    assert found.dropped == [("no path in the table", "row 2")]
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list_photos(str(path))


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tars_of_img2dataset_are_read_by_offset(tmp_path):
    for number in range(2):
        write_tar(
            tmp_path / f"0000{number}.tar",
            {
                f"{number}1.jpg": b"first", f"{number}1.json": b"{}", f"{number}1.txt": b"caption",
                f"{number}2.json": b'{"status": "failed"}',
                "sub/dotted.name.png": b"dotted", "sub/dotted.name.json": b"{}",
                "x.target_mask.png": b"no photo", f"{number}3.webp": b"third", "3.mask.png": b"m",
            },
        )  # fmt: skip
        (tmp_path / f"0000{number}.parquet").touch()
        (tmp_path / f"0000{number}_stats.json").write_text(json.dumps({}))
    for images in (str(tmp_path), f"{tmp_path}/{{00000..00001}}.tar", f"{tmp_path}/*.tar"):
        found = list_photos(images)
        pictures = ("{n}1.jpg", "sub/dotted.name.png", "{n}3.webp")
        expected = [f"0000{n}.tar/{name.format(n=n)}" for n in range(2) for name in pictures]
        assert names(found) == expected
    _, photo = found[0]
    assert set(photo.members) == {"image", "json", "txt"}
    offset, size = photo.members["image"]
    assert (tmp_path / photo.path).read_bytes()[offset : offset + size] == b"first"


def test_damaged_tars_are_counted_and_the_rest_is_read(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.jpg": bytes(5000), "2.jpg": bytes(5000)})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:8000])
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    found = list_photos(str(tmp_path))
    assert names(found)[0] == "a.tar/1.jpg"
    assert found.dropped == [("damaged tar", "a.tar"), ("damaged tar", "b.tar")]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere is not a folder, a list \(\.txt"):
        list_photos(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"there is no .*x\.tar"):
        list_photos(str(tmp_path / "x.tar"))
    with pytest.raises(InputError, match="there is no such tar"):
        list_photos(str(tmp_path / "*.tar"))
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match=r"photo\.jpg is not a folder"):
        list_photos(str(tmp_path / "photo.jpg"))
    (tmp_path / "photo.jpg").unlink()
    (tmp_path / "a.tar").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no picture \(damaged tar\)"):
        list_photos(str(tmp_path))
