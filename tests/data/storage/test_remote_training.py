"""The stream of a training from shards behind http is the stream from the same shards on disk."""

import dataclasses
import itertools

import pytest
import torch

from rba.data.datamodule import AlternatingDataModule
from rba.data.recipe import MaskSettings
from rba.data.sources import AlignmentSource, RefinementSource
from rba.data.stream import StepSampler
from rba.errors import InputError


@pytest.fixture
def batches(settings):
    def make(shards, workers=0, storage=None, window=2):
        data = AlternatingDataModule(
            alignment=AlignmentSource(shards=str(shards), shuffle_window=window),
            refinement=RefinementSource(shards=None),
            pattern={"alignment": 1, "refinement": 0},
            masks=MaskSettings(area_factor=2.0),
            seed=1,
            storage=storage or settings(),
            global_batch=4,
            per_device_batch=4,
            image_size=32,
            reference_size=32,
            num_workers=workers,
        )
        data.check()
        loader = data._data_loader(data.stream(), StepSampler(0))
        return list(itertools.islice(loader, 15))  # over two epochs' ends

    return make


def same(first, second):
    pairs = zip(first, second, strict=True)
    return all(
        torch.equal(value, getattr(b, name)) if isinstance(value, torch.Tensor) else True
        for a, b in pairs
        for name, value in {f.name: getattr(a, f.name) for f in dataclasses.fields(a)}.items()
    ) and [batch.sample_ids for batch in first] == [batch.sample_ids for batch in second]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_local_shards(server, settings, batches, workers):
    sizes = [path.stat().st_size for path in server.folder.glob("*.tar")]
    small = settings(cache_gigabytes=(3 * max(sizes) + 2000) / 1e9)
    expected = batches(server.folder)
    assert len({id for batch in expected for id in batch.sample_ids}) == 23
    assert same(batches(server.url, workers, small), expected)


def test_a_cache_smaller_than_a_window_is_refused(server, settings, batches):
    sizes = sorted(path.stat().st_size for path in server.folder.glob("*.tar"))
    small = settings(cache_gigabytes=(sum(sizes[1:]) - 1) / 1e9)
    with pytest.raises(InputError, match=r"cache_gigabytes=\S+ is too small: .* set it to 0\.0"):
        batches(server.url, storage=small, window=4)
    assert batches(server.folder, storage=small, window=4), "local shards need no cache"
