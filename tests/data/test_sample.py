import io
import pickle

import cv2
import numpy as np
import pytest

from rba.batch import Mode
from rba.data.sample import (
    AlignmentRecord,
    RecordError,
    RefinementRecord,
    decode_record,
    match_grid_shape,
)


def psnr(a, b):
    return -10 * np.log10(np.mean((a.astype(float) - b) ** 2) / 255**2)


@pytest.mark.parametrize("masked", [False, True])
def test_alignment_record_survives_its_codec(make, masked):
    image = make.picture(40, 52)
    mask = image[..., 0] > 128 if masked else None
    record = AlignmentRecord(key="a", image=image, mask=mask, metadata={"source": "ä 'b'.jpg"})
    members = record.encode()
    assert set(members) == {"jpg", "json"} | ({"mask.png"} if masked else set())
    back = decode_record(Mode.ALIGNMENT, "a", members)
    assert isinstance(back, AlignmentRecord)
    assert back.metadata == record.metadata
    assert psnr(back.image, image) > 30
    if masked:
        np.testing.assert_array_equal(back.mask, mask)
    else:
        assert back.mask is None


def test_refinement_record_survives_its_codec(make):
    target, reference = make.picture(41, 57), make.picture(33, 30, 1)
    record = RefinementRecord(
        key="b", target=target, reference=reference, target_mask=target[..., 0] > 99,
        reference_mask=reference[..., 0] > 99, matches=make.matches(41, 57), metadata={},
    )  # fmt: skip
    back = RefinementRecord.decode("b", record.encode())
    assert match_grid_shape(41, 57) == (6, 8) == back.matches.shape[:2]
    np.testing.assert_array_equal(back.matches, record.matches)
    np.testing.assert_array_equal(back.target_mask, record.target_mask)
    np.testing.assert_array_equal(back.reference_mask, record.reference_mask)
    assert back.target.shape == target.shape
    assert back.reference.shape == reference.shape


def test_red_stays_red(make):
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 250
    members = AlignmentRecord(key="a", image=image, mask=None, metadata={}).encode()
    as_bgr = cv2.imdecode(np.frombuffer(members["jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert as_bgr[0, 0, 2] > 240
    assert AlignmentRecord.decode("a", members).image[0, 0, 0] > 240


def broken(members, name):
    replaced = {
        "no image": {"jpg": None},
        "cut image": {"jpg": members["jpg"][: len(members["jpg"]) // 2]},
        "no picture": {"jpg": b"hello\xff\xd9"},
        "no json": {"json": b"{"},
        "json list": {"json": b"[]"},
        "newer schema": {"json": b'{"schema": 99}'},
        "mask size": {"mask.png": cv2.imencode(".png", np.zeros((3, 3), np.uint8))[1].tobytes()},
        "empty mask": {"mask.png": b""},
    }[name]
    return {key: data for key, data in {**members, **replaced}.items() if data is not None}


@pytest.mark.parametrize(
    "name",
    ["no image", "cut image", "no picture", "no json", "json list", "newer schema", "mask size",
     "empty mask"],
)  # fmt: skip
def test_bad_members_are_record_errors(make, name):
    members = broken(make.alignment_record(0).encode(), name)
    with pytest.raises(RecordError):
        AlignmentRecord.decode("0", members)


@pytest.mark.parametrize("name", ["cls.pkl", "x.pyd", "model.pth", "PKL"])
def test_pickles_are_refused_by_name(make, name):
    members = {**make.alignment_record(0).encode(), name: pickle.dumps(1)}
    with pytest.raises(RecordError, match="never pickles"):
        AlignmentRecord.decode("0", members)


def test_pickled_matches_are_refused_unread(make):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was executed",))

    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], object), allow_pickle=True)
    members = {**make.refinement_record(0).encode(), "matches.npy": stream.getvalue()}
    with pytest.raises(RecordError, match=r"matches\.npy"):
        RefinementRecord.decode("0", members)


def test_matches_of_another_grid_are_refused(make):
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 2, 3), np.float16))
    members = {**make.refinement_record(0).encode(), "matches.npy": stream.getvalue()}
    with pytest.raises(RecordError, match=r"expected float16 \(6, 6, 3\)"):
        RefinementRecord.decode("0", members)
