import os

import pytest

from rba.data.objects import PairChoice, list_pairs
from rba.data.objects.layouts import tell_layout
from rba.errors import InputError

ALL = PairChoice(max_pairs=1000)


def listed(root, layout="auto", choice=ALL):
    return list_pairs(str(root), layout, choice)


def objects_of(pairs):
    return {pair.object for _, pair in pairs}


def test_folders_of_views_at_any_depth(write, tmp_path):
    write.write_views(tmp_path / "toys" / "cup", ["2.jpg", "10.jpg", "1.jpg"])
    write.write_views(tmp_path / "dishes" / "cup", ["a b's.v2.jpg", "ä.PNG"])
    write.write_views(tmp_path / "single", ["0.jpg"])
    write.save_mask(tmp_path / "single" / "0.mask.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    write.save(tmp_path / "lone.jpg", write.picture(0))
    write.save_mask(tmp_path / "toys" / "masks" / "1.png")
    pairs = listed(tmp_path)
    assert pairs.layout == "folders"
    assert (pairs.num_objects, pairs.num_views) == (3, 6)
    assert objects_of(pairs) == {"toys/cup", "dishes/cup"}
    names = [name for name, pair in pairs if pair.object == "toys/cup"]
    assert names[:2] == ["toys/cup/1-2", "toys/cup/1-10"]  # 2 before 10
    assert "dishes/cup/a b's.v2-ä" in [name for name, _ in pairs]
    assert pairs.dropped == [
        ("fewer than two views", "single"),
        ("folder of masks or depths", "toys/masks"),
        ("folder without a picture", "empty"),
        ("folder without a picture", "notes"),
        ("in no object's folder", "lone.jpg"),
    ]


def test_names_of_equal_stems_and_of_odd_bytes(write, tmp_path):
    write.write_views(tmp_path / "cup", ["0.jpg", "0.png"])
    odd = os.fsdecode(b"\xff\xfe.jpg")
    write.write_views(tmp_path / "cup", [odd], seed=5)
    pairs = listed(tmp_path)
    names = {name for name, _ in pairs}
    assert {"cup/0.jpg-0.png", "cup/0.png-0.jpg", "cup/0-\ufffd\ufffd"} <= names
    assert all(name.encode() for name in names)
    assert any(pair.target.path == f"cup/{odd}" for _, pair in pairs)


def test_rendered_pairs_have_their_correspondences(write, tmp_path):
    write.write_views(tmp_path / "a", ["00.png", "01.png"])
    write.save(tmp_path / "a" / "00-01.correspondence.png", write.picture(3))
    pairs = dict(listed(tmp_path))
    assert pairs["a/00-01"].correspondence == "a/00-01.correspondence.png"
    assert pairs["a/01-00"].correspondence is None


def test_links_are_followed_out_of_the_set_once(write, tmp_path):
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    write.write_views(root / "cup", ["0.jpg", "1.jpg"])
    write.write_views(elsewhere / "bowl", ["0.jpg", "1.jpg"], seed=3)
    (root / "cup" / "loop").symlink_to(root)
    (root / "copy").symlink_to(root / "cup")
    (root / "far").symlink_to(elsewhere)
    (root / "far again").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(elsewhere)
    (elsewhere / "above").symlink_to(tmp_path)
    (root / "cup" / "self.jpg").symlink_to("self.jpg")
    (root / "cup" / "gone.jpg").symlink_to("nowhere.jpg")
    pairs = listed(root)
    assert objects_of(pairs) == {"cup", "far/bowl"}
    assert pairs.dropped == [
        ("linked folder", "copy"),
        ("linked folder", "cup/loop"),
        ("linked folder", "far again"),
        ("linked folder", "far/above"),
        ("linked folder", "far/loop"),
    ]


def test_folders_without_permission_are_named(write, tmp_path, unprivileged):
    write.write_views(tmp_path / "cup", ["0.jpg", "1.jpg"])
    (tmp_path / "locked").mkdir(mode=0)
    assert ("no permission", "locked") in listed(tmp_path).dropped


def test_a_folder_that_cannot_be_listed_is_named(write, tmp_path, monkeypatch):
    write.write_views(tmp_path / "cup", ["0.jpg", "1.jpg"])
    for name in ("locked", "broken"):
        (tmp_path / name).mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "denied", str(path))
        if str(path).endswith("broken"):
            raise OSError(5, "input/output error", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    dropped = listed(tmp_path, "folders").dropped
    assert ("no permission", "locked") in dropped
    assert ("unreadable folder", "broken") in dropped


def test_mvimgnet_masks_and_cameras(mvimgnet):
    assert tell_layout(mvimgnet) == "mvimgnet"
    pairs = dict(listed(mvimgnet))
    first = pairs["7/0a01/000-001"]
    assert first.target.path == "7/0a01/images/000.jpg"
    assert first.target.mask == "mask/7/0a01/000.jpg.png"
    assert first.facts == {"view_distance": 1, "view_angle": 20.0}
    assert pairs["7/0a01/001-003"].reference.mask is None
    assert pairs["7/0a01/003-002"].facts["view_angle"] == 125.0
    assert not any("bg_removed" in name for name in pairs)
    second = pairs["8/0a01/000-001"]  # of the same name in another class
    assert second.target.mask == "8/0a01/masks/000.png"
    assert second.facts == {"view_distance": 1}


@pytest.mark.parametrize("images", ["image", "mvi"])
def test_mvimgnet_as_two_trees(write, tmp_path, images):
    write.write_views(tmp_path / images / "7" / "0a01" / "images", ["000.jpg", "001.jpg"])
    for name in ("000.jpg", "001.jpg"):
        write.save_mask(tmp_path / "mask" / "7" / "0a01" / f"{name}.png")
    for root, mask in ((tmp_path, "mask"), (tmp_path / images, "../mask")):
        pairs = listed(root)
        assert pairs.layout == "mvimgnet"
        assert pairs[0][1].target.mask == f"{mask}/7/0a01/000.jpg.png"
        assert (root / pairs[0][1].target.mask).is_file()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:100], "damaged cameras"),
        (lambda data: data[:-1], "damaged cameras"),
        (lambda data: b"\xff" * 200, "damaged cameras"),
        (lambda data: data[:12] + bytes(32) + data[44:], "damaged cameras"),
        (lambda data: b"", "cameras: empty file"),
    ],
)
def test_damaged_cameras_cost_only_the_angles(mvimgnet, change, reason):
    path = mvimgnet / "7" / "0a01" / "sparse" / "0" / "images.bin"
    path.write_bytes(change(path.read_bytes()))
    pairs = listed(mvimgnet)
    assert pairs.dropped == [(reason, "7/0a01/sparse/0/images.bin")]
    assert "view_angle" not in dict(pairs)["7/0a01/000-001"].facts


def test_co3d_annotations(co3d):
    assert tell_layout(co3d) == "co3d"
    pairs = listed(co3d)
    assert pairs.dropped == []
    found = dict(pairs)
    assert len(found) == 12
    pair = found["apple/110_13051_23361/frame000001-frame000010"]
    assert pair.target.mask == "apple/110_13051_23361/masks/frame000001.png"
    assert pair.facts == {
        "category": "apple", "viewpoint_quality": 1.25, "view_distance": 2, "view_angle": 50.0,
    }  # fmt: skip


def test_co3d_without_usable_annotations_is_read_by_its_folders(co3d):
    path = co3d / "apple" / "frame_annotations.jgz"
    whole = path.read_bytes()
    (co3d / "apple" / "sequence_annotations.jgz").write_bytes(b"x")
    for damaged in (whole[:200], b"no gzip", b""):
        path.write_bytes(damaged)
        pairs = listed(co3d)
        assert ("damaged annotations", "apple/frame_annotations.jgz") in pairs.dropped
        pair = dict(pairs)["apple/110_13051_23361/frame000001-frame000010"]
        assert pair.target.mask == "apple/110_13051_23361/masks/frame000001.png"
        assert pair.facts == {"view_distance": 2}


@pytest.mark.parametrize("text", ["{}", "[1, 2", '[{"a": 1}', "[nonsense]", ""])
def test_annotations_that_are_no_list(co3d, text, write):
    import gzip

    with gzip.open(co3d / "apple" / "frame_annotations.jgz", "wt") as stream:
        stream.write(text)
    assert ("damaged annotations", "apple/frame_annotations.jgz") in listed(co3d).dropped


def test_rows_that_name_missing_or_foreign_files_are_counted(co3d, write):
    name = "110_13051_23361"
    rows = [write.frame("apple", name, number, 10 * number) for number in (1, 2, 10)]
    rows.insert(1, write.frame("apple", name, 7))  # neither picture nor mask
    rows.append(write.frame("apple", name, 11, image={"path": "../../secret.jpg"}))
    rows.append(write.frame("apple", name, 12, image={"path": "/etc/secret.jpg"}))
    rows.append({"sequence_name": name})
    rows.append("row")
    rows.append(write.frame("apple", name, 13, viewpoint={"R": [[1]], "T": [0]}))
    write.write_jgz(co3d / "apple" / "frame_annotations.jgz", rows)
    (co3d / "apple" / name / "masks" / "frame000002.png").unlink()
    pairs = listed(co3d)
    assert len(pairs) == 6
    assert dict(pairs)[f"apple/{name}/frame000002-frame000001"].target.mask is None
    file = "apple/frame_annotations.jgz"
    assert pairs.dropped == [
        ("annotated frame is missing", f"apple/{name}/images/frame000007.jpg"),
        ("annotated mask is missing", f"apple/{name}/masks/frame000002.png"),
        *(("annotation of no frame", f"{file} row {number}") for number in (5, 6, 7, 8, 9)),
    ]


def test_the_category_instead_of_the_set_is_named(co3d):
    with pytest.raises(InputError, match="give the folder above"):
        listed(co3d / "apple", "co3d")


@pytest.mark.parametrize(
    ("layout", "words"),
    [("folders", "OBJECT/VIEW.jpg"), ("mvimgnet", "images/001.jpg"), ("co3d", "frame_annotations")],
)
def test_nothing_of_a_layout_says_what_was_expected(tmp_path, layout, words):
    (tmp_path / "notes").mkdir()
    with pytest.raises(InputError, match=f"holds no object of layout {layout}.*{words}"):
        listed(tmp_path, layout)


def test_what_is_no_input(write, tmp_path):
    write.save(tmp_path / "a.jpg", write.picture(0))
    for path in ("gone", "a.jpg"):
        with pytest.raises(InputError, match=r"is not a folder, nor a list of pairs"):
            listed(tmp_path / path)
    with pytest.raises(InputError, match="layout=magic"):
        listed(tmp_path, "magic")
    with pytest.raises(InputError, match=r"layout=pairs needs a \.csv"):
        listed(tmp_path, "pairs")
    (tmp_path / "pairs.csv").write_text("target,reference\na,b\n")
    with pytest.raises(InputError, match="layout=folders needs one"):
        listed(tmp_path / "pairs.csv", "folders")
    write.write_views(tmp_path / "cup", ["0.jpg"])
    with pytest.raises(InputError, match=r"gives no pair of views \(1 x fewer than two views"):
        listed(tmp_path)
