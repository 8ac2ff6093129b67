"""Small sets of objects in every layout, written as their publishers ship them."""

import gzip
import json
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image


def picture(seed, height=48, width=64):
    """A coloured pattern, another one for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path, image):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def save_mask(path, height=48, width=64):
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    save(path, mask)


def write_views(folder, names, seed=0):
    for number, name in enumerate(names):
        save(Path(folder) / name, picture(seed + number))


def on_circle(degrees, distance=3.0):
    """World-to-camera rotation (x right, y down, z forward) and centre, looking at the origin."""
    angle = np.radians(degrees)
    centre = distance * np.array([np.sin(angle), 0.0, -np.cos(angle)])
    forward = -centre / distance
    right = np.cross([0.0, 1.0, 0.0], forward)
    return np.stack([right, np.cross(forward, right), forward]), centre


def quaternion(rotation):
    w = np.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
    skew = rotation - rotation.T
    return [w, *(np.array([skew[2, 1], skew[0, 2], skew[1, 0]]) / (4 * w))]


def colmap_images(angles):
    """The bytes of an images.bin with cameras on a circle, by name of the picture."""
    data = struct.pack("<Q", len(angles))
    for number, (name, degrees) in enumerate(angles.items()):
        rotation, centre = on_circle(degrees)
        pose = [*quaternion(rotation), *(-rotation @ centre)]
        data += struct.pack("<i7di", number + 1, *pose, 1) + name.encode() + b"\0"
        data += struct.pack("<Q", 2) + struct.pack("<ddqddq", 1, 2, -1, 3, 4, 7)
    return data


def pytorch3d(degrees):
    """R and T of the same camera in PyTorch3D's form (x left, y up)."""
    rotation, centre = on_circle(degrees)
    flipped = np.diag([-1.0, -1.0, 1.0]) @ rotation
    return flipped.T.tolist(), (-flipped @ centre).tolist()


def write_jgz(path, rows):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as stream:
        json.dump(rows, stream)


def frame(category, sequence, number, degrees=None, **changes):
    """One row of CO3D's frame_annotations."""
    here = f"{category}/{sequence}"
    row = {
        "sequence_name": sequence,
        "frame_number": number,
        "image": {"path": f"{here}/images/frame{number:06d}.jpg", "size": [48, 64]},
        "mask": {"path": f"{here}/masks/frame{number:06d}.png", "mass": 768.0},
        "depth": None,
    }
    if degrees is not None:
        rotation, moved = pytorch3d(degrees)
        row["viewpoint"] = {"R": rotation, "T": moved, "focal_length": [2, 2]}
    return {**row, **changes}


@pytest.fixture
def write():
    """What tests write their sets with."""

    class Write:
        pass

    for function in (picture, save, save_mask, write_views, colmap_images, pytorch3d, write_jgz,
                     frame, on_circle):  # fmt: skip
        setattr(Write, function.__name__, staticmethod(function))
    return Write


@pytest.fixture
def mvimgnet(tmp_path):
    """Two objects: one with masks in a tree beside and cameras, one as version 2.0 has it."""
    root = tmp_path / "set"
    names = [f"{number:03d}.jpg" for number in range(4)]
    write_views(root / "7" / "0a01" / "images", [*names, "000_bg_removed.png"])
    for name in names[:3]:
        save_mask(root / "mask" / "7" / "0a01" / f"{name}.png", 24, 32)
    cameras = root / "7" / "0a01" / "sparse" / "0" / "images.bin"
    cameras.parent.mkdir(parents=True)
    cameras.write_bytes(colmap_images(dict(zip(names, (0, 20, 45, 170), strict=True))))
    write_views(root / "8" / "0a01" / "images", names, seed=9)
    for name in names:
        save_mask(root / "8" / "0a01" / "masks" / name.replace("jpg", "png"))
    return root


@pytest.fixture
def co3d(tmp_path):
    """One category of two sequences, annotated with cameras."""
    root = tmp_path / "co3d"
    rows = []
    for sequence, seed in (("110_13051_23361", 0), ("189_20393_38136", 20)):
        for number, degrees in ((1, 0), (2, 15), (10, 50)):
            row = frame("apple", sequence, number, degrees)
            rows.append(row)
            save(root / row["image"]["path"], picture(seed + number))
            save_mask(root / row["mask"]["path"])
    write_jgz(root / "apple" / "frame_annotations.jgz", rows)
    write_jgz(
        root / "apple" / "sequence_annotations.jgz",
        [
            {
                "sequence_name": "110_13051_23361",
                "category": "apple",
                "viewpoint_quality_score": 1.25,
            }
        ],
    )
    (root / "apple" / "set_lists").mkdir()
    return root


@pytest.fixture
def unprivileged():
    """Skip where folders without permission are readable all the same."""
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
