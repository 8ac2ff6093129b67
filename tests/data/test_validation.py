import numpy as np
import pytest
import torch

from rba.batch import Mode
from rba.data.mode_stream import ModeStream
from rba.data.order import SampleOrder
from rba.data.recipe import Recipe
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.shards import ShardSet
from rba.data.validation import ValidationSet


@pytest.fixture
def stream(refinement_folder, make):
    recipe = Recipe(image_size=32, reference_size=32, masks=make.blob_mask, seed=0, namespace="v")
    shards = ShardSet.open(refinement_folder)
    maker = RefinementExamples(RefinementSettings(), recipe, complete_reference=True)
    return ModeStream(shards, SampleOrder(0, "v", shards.sizes), maker)


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 4), (2, 3), (3, 2), (4, 4), (1, 64)])
@pytest.mark.parametrize("num_samples", [1, 10, 13, 500])
def test_each_sample_once_over_all_ranks(stream, world_size, batch_size, num_samples):
    ranks = [
        ValidationSet(stream, num_samples, batch_size, world_size, rank)
        for rank in range(world_size)
    ]
    assert len({len(validation) for validation in ranks}) == 1
    batches = [validation[number] for validation in ranks for number in range(len(validation))]
    assert all(len(batch) == batch_size and batch.mode is Mode.REFINEMENT for batch in batches)
    weights = torch.cat([batch.weight for batch in batches]).numpy()
    draws = torch.cat([batch.draws for batch in batches]).numpy()
    counted = np.sort(draws[weights == 1])
    np.testing.assert_array_equal(counted, np.arange(min(num_samples, 13)))
    assert set(weights) <= {0.0, 1.0}


def test_it_ends(stream):
    validation = ValidationSet(stream, 10, 4)
    assert len(list(validation)) == 3
    with pytest.raises(IndexError):
        validation[3]
