"""The batch: its contract refused where broken, its stacking, devices and floats."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rba.batch import PLACES, Batch, Example, Mode

HEIGHT, WIDTH, SIDE = 8, 12, 6


def example(index: int = 0, **changes: Any) -> Example:
    rng = np.random.default_rng(index)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:4, 3 : 5 + index] = True
    parts: dict[str, Any] = {
        "image": rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        "artifact_mask": mask,
        "reference": rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
        "reference_mask": rng.random((SIDE, SIDE)) > 0.3,
        "correspondence_mask": rng.random((SIDE, SIDE)).astype(np.float32),
        "correspondence_known": index % 2 == 0,
        "draw": 10**12 + index,
        "sample_id": f"photos/000/{index}",
        "weight": float(index),
    }
    return Example(**(parts | changes))


@pytest.fixture
def batch() -> Batch:
    return Batch.collate(Mode.ALIGNMENT, [example(index) for index in range(3)])


def tensors(batch: Batch) -> dict[str, Tensor]:
    found = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def test_collating_stacks_every_example_in_order(batch: Batch) -> None:
    assert len(batch) == 3
    assert batch.mode is Mode.ALIGNMENT
    assert batch.sample_ids == ("photos/000/0", "photos/000/1", "photos/000/2")
    for index in range(3):
        single = example(index)
        for name in ("image", "reference"):
            np.testing.assert_array_equal(
                getattr(batch, name)[index].permute(1, 2, 0).numpy(), getattr(single, name)
            )
        for name in ("artifact_mask", "reference_mask", "correspondence_mask"):
            np.testing.assert_array_equal(
                getattr(batch, name)[index, 0].numpy(), getattr(single, name)
            )
        assert batch.draws[index] == single.draw
        assert batch.correspondence_known[index] == single.correspondence_known
        assert batch.weight[index] == single.weight


def test_collating_gives_the_shapes_and_types_of_the_contract(batch: Batch) -> None:
    assert {name: (tuple(t.shape), t.dtype) for name, t in tensors(batch).items()} == {
        "image": ((3, 3, HEIGHT, WIDTH), torch.uint8),
        "artifact_mask": ((3, 1, HEIGHT, WIDTH), torch.bool),
        "reference": ((3, 3, SIDE, SIDE), torch.uint8),
        "reference_mask": ((3, 1, SIDE, SIDE), torch.bool),
        "correspondence_mask": ((3, 1, SIDE, SIDE), torch.float32),
        "correspondence_known": ((3,), torch.bool),
        "places": ((3, PLACES, PLACES, 2), torch.float32),
        "draws": ((3,), torch.int64),
        "weight": ((3,), torch.float32),
    }
    floats = vars(batch.normalized())
    assert all(tensor.is_contiguous() for tensor in floats.values())


def test_places_are_kept_where_they_are_known_and_nan_where_not(batch: Batch) -> None:
    assert batch.places.isnan().all()
    places = np.arange(PLACES * PLACES * 2.0).reshape(PLACES, PLACES, 2)
    known = Batch.collate(Mode.ALIGNMENT, [example(0, places=places), example(1)])
    np.testing.assert_array_equal(known.places[0].numpy(), places.astype(np.float32))
    assert known.places[1].isnan().all()


def test_an_empty_artifact_mask_is_refused_by_its_sample() -> None:
    empty = example(1, artifact_mask=np.zeros((HEIGHT, WIDTH), bool))
    with pytest.raises(ValueError, match="empty artifact mask in photos/000/1"):
        Batch.collate(Mode.REFINEMENT, [example(0), empty])


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan])
def test_a_soft_mask_outside_its_range_is_refused_by_its_sample(value: float) -> None:
    soft = np.full((SIDE, SIDE), 0.5, np.float32)
    soft[2, 2] = value
    with pytest.raises(ValueError, match=r"photos/000/1 leaves \[0, 1\]"):
        Batch.collate(Mode.REFINEMENT, [example(0), example(1, correspondence_mask=soft)])


def test_no_example_is_no_batch() -> None:
    with pytest.raises(ValueError, match="empty list"):
        Batch.collate(Mode.ALIGNMENT, [])


def test_examples_of_different_sizes_do_not_stack() -> None:
    larger = example(1, image=np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(ValueError, match="sizes"):
        Batch.collate(Mode.ALIGNMENT, [example(0), larger])


BROKEN: dict[str, tuple[str, Tensor]] = {
    "floats for bytes": ("image", torch.zeros(3, 3, HEIGHT, WIDTH)),
    "one picture as reference": ("reference", torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)),
    "four channels": ("image", torch.zeros(3, 4, HEIGHT, WIDTH, dtype=torch.uint8)),
    "channels last": ("image", torch.zeros(3, HEIGHT, WIDTH, 3, dtype=torch.uint8)),
    "no batch axis": ("image", torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)),
    "mask of bytes": ("artifact_mask", torch.ones(3, 1, HEIGHT, WIDTH, dtype=torch.uint8)),
    "mask of another size": ("artifact_mask", torch.ones(3, 1, SIDE, SIDE, dtype=torch.bool)),
    "mask without channel": ("artifact_mask", torch.ones(3, HEIGHT, WIDTH, dtype=torch.bool)),
    "fewer references": ("reference", torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)),
    "oblong reference": ("reference", torch.zeros(3, 3, SIDE + 1, SIDE, dtype=torch.uint8)),
    "object mask of floats": ("reference_mask", torch.ones(3, 1, SIDE, SIDE)),
    "correspondence of another size": ("correspondence_mask", torch.zeros(3, 1, HEIGHT, WIDTH)),
    "double correspondence": ("correspondence_mask", torch.zeros(3, 1, SIDE, SIDE).double()),
    "known as numbers": ("correspondence_known", torch.ones(3)),
    "draws of 32 bits": ("draws", torch.arange(3, dtype=torch.int32)),
    "a weight for each pixel": ("weight", torch.ones(3, 1)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_contract_is_refused_by_name(batch: Batch, case: str) -> None:
    name, wrong = BROKEN[case]
    with pytest.raises(ValueError, match=rf"Batch\.{name} is .*, expected ") as caught:
        dataclasses.replace(batch, **{name: wrong})
    assert str(tuple(wrong.shape)) in str(caught.value)


def test_sample_ids_are_counted(batch: Batch) -> None:
    with pytest.raises(ValueError, match="Batch of 3 has 2 sample ids"):
        dataclasses.replace(batch, sample_ids=batch.sample_ids[:2])


def test_moving_to_a_device_moves_every_tensor_but_the_draws(batch: Batch) -> None:
    moved = batch.to("meta")
    assert {n for n, t in tensors(moved).items() if t.device.type == "cpu"} == {"draws"}
    assert {t.device.type for t in tensors(moved).values()} == {"meta", "cpu"}
    assert set(tensors(moved)) == set(tensors(batch))
    assert (moved.mode, moved.sample_ids) == (batch.mode, batch.sample_ids)
    assert {t.device.type for t in tensors(batch).values()} == {"cpu"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs CUDA")
def test_pinning_keeps_values(batch: Batch) -> None:
    pinned = batch.pin_memory()
    for name, tensor in tensors(pinned).items():
        assert tensor.is_pinned()
        assert torch.equal(tensor, tensors(batch)[name])


def test_normalized_turns_bytes_into_the_range_of_the_network(batch: Batch) -> None:
    batch.image[0, :, 0, 0] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    floats = batch.normalized()
    torch.testing.assert_close(floats.image[0, :, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    for name in ("image", "reference"):
        values = getattr(floats, name)
        assert values.dtype == torch.float32
        assert values.min() >= -1.0
        assert values.max() <= 1.0
        restored = ((values + 1.0) * 127.5).round().to(torch.uint8)
        assert torch.equal(restored, getattr(batch, name)), "no byte is lost"


def test_normalized_blanks_the_hole_to_mid_grey_and_nothing_else(batch: Batch) -> None:
    floats = batch.normalized()
    hole = batch.artifact_mask.expand_as(batch.image)
    assert (floats.masked_image[hole] == 0.0).all()
    assert torch.equal(floats.masked_image[~hole], floats.image[~hole])
    assert torch.equal(floats.artifact_mask, batch.artifact_mask.float())
    assert not torch.equal(floats.masked_image, floats.image)


def test_the_hole_s_pixels_cannot_leak_into_the_masked_image(batch: Batch) -> None:
    other = torch.where(batch.artifact_mask, 255 - batch.image, batch.image)
    changed = dataclasses.replace(batch, image=other)
    assert torch.equal(changed.normalized().masked_image, batch.normalized().masked_image)
