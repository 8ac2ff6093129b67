"""Descriptions say of a set what went into it."""

import shutil

import numpy as np
import pytest

from rba.batch import Mode
from rba.data.description_figure import draw_description
from rba.data.record_choice import choose_records
from rba.data.sample import AlignmentRecord, RefinementRecord
from rba.data.shard_description import LABELS, ShardDescription, measure, quantiles
from rba.data.shards import ShardSet
from rba.data.writer import ShardWriter
from rba.masks import load_profile

PAL = load_profile("pal")


def describe(folder, count=0):
    shards, description = ShardSet.open(folder), ShardDescription()
    for place in choose_records(shards, count, "describe", 0):
        description.add(shards, place, PAL, 0)
    return description


def test_sizes_areas_and_facts(make, tmp_path):
    with ShardWriter(
        tmp_path / "set", kind=Mode.ALIGNMENT, samples_per_shard=3, settings={}
    ) as writer:
        for number in range(8):
            image = make.picture(40, 40 + 10 * number)
            mask = np.zeros(image.shape[:2], bool)
            mask[:10] = True
            record = AlignmentRecord(
                key=f"{number}", image=image, mask=mask if number % 2 else None,
                metadata={"licence": "CC0" if number else "CC BY", "source": f"{number}", "n": 1},
            )  # fmt: skip
            writer.write(record.key, record.encode())
    found = describe(tmp_path / "set").summary()
    assert found["measured"] == 8
    assert found["facts"]["licence"] == {"CC BY": 1, "CC0": 7}
    sizes = found["quantities"]["longest_side"]
    assert (sizes["count"], sizes["q0"], sizes["q100"]) == (8, 40.0, 110.0)
    assert found["quantities"]["shortest_side"]["mean"] == 40.0
    assert found["quantities"]["aspect"]["q50"] == pytest.approx(75 / 40)
    assert found["quantities"]["object_area"]["count"] == 4
    assert found["quantities"]["object_area"]["q50"] == pytest.approx(0.25)
    assert 0 < found["quantities"]["artifact_area"]["q50"] < 0.25
    assert "matches" not in found["quantities"]


def test_facts_with_many_values_are_left_out(make, tmp_path):
    description = describe(make.shards(tmp_path, Mode.ALIGNMENT, 20))
    assert description.measured == 20
    assert description.summary()["facts"] == {}


def test_matches_of_a_pair(make):
    image = make.picture(64, 64)
    matches = np.full((8, 8, 3), np.nan, np.float16)
    matches[:4, :, :] = (0.5, 0.5, 0.25)
    mask = np.zeros((64, 64), bool)
    mask[16:, :32] = True  # rows 2 to 7 and columns 0 to 3 of the grid: 2 of 6 rows have matches
    record = RefinementRecord(
        key="a", target=image, reference=image[:32], target_mask=mask,
        reference_mask=mask[:32], matches=matches, metadata={},
    )  # fmt: skip
    found = measure(record, PAL, np.random.default_rng(0))
    assert found["matches"] == 32
    assert found["match_coverage"] == pytest.approx(2 / 6)
    assert found["confidence"] == 0.25
    assert found["reference_longest_side"] == 64
    assert found["reference_object_area"] == mask[:32].mean()
    assert set(found) <= set(LABELS)


@pytest.mark.parametrize("height", [33, 40, 47])
def test_coverage_of_odd_sizes_without_a_mask(make, height):
    image = make.picture(height, 50)
    record = RefinementRecord(
        key="a", target=image, reference=image, target_mask=None, reference_mask=None,
        matches=make.matches(height, 50), metadata={},
    )  # fmt: skip
    found = measure(record, PAL, np.random.default_rng(0))
    valid = np.isfinite(record.matches[..., 0])
    assert found["match_coverage"] == valid.mean()


def test_unreadable_records_are_counted_with_their_reason(alignment_folder, tmp_path):
    folder = shutil.copytree(alignment_folder, tmp_path / "set")
    data = bytearray((folder / "alignment-000001.tar").read_bytes())
    data[100:200] = b"\xff" * 100
    (folder / "alignment-000001.tar").write_bytes(data)
    description = describe(folder)
    assert (description.measured, description.unreadable) == (22, 1)
    assert description.examples[0].startswith("alignment-000001.tar sample 0: ")


def test_quantiles_are_those_of_numpy():
    values = [float(value) for value in np.random.default_rng(0).normal(size=101)]
    found = quantiles(values)
    assert found["q50"] == np.median(values)
    assert (found["q0"], found["q100"]) == (min(values), max(values))
    assert found["mean"] == pytest.approx(np.mean(values))


def test_the_figure_is_drawn_for_any_values(tmp_path):
    values = {
        "longest_side": [512.0] * 5,
        "object_area": [0.0, 0.2, 0.9],
        "artifact_area": list(np.geomspace(1e-4, 0.5, 50)),
        "matches": [],
    }
    draw_description(tmp_path / "a.png", "title", values)
    draw_description(tmp_path / "b.png", "title", values)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
