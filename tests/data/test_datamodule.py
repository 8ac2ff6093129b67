import logging
import pickle

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf

from rba.batch import Mode
from rba.data.curriculum import Curriculum
from rba.data.datamodule import AlternatingDataModule
from rba.data.recipe import MaskSettings
from rba.data.sources import AlignmentSource, RefinementSource
from rba.errors import InputError
from rba.settings import CONFIG_FOLDER

# What Lightning says at every fit.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
]

SIZES = {"global_batch": 4, "per_device_batch": 2, "image_size": 32, "reference_size": 32}


@pytest.fixture
def module(alignment_folder, refinement_folder):
    def build(pattern=None, validation=None, alignment=alignment_folder, sets=None, **sizes):
        return AlternatingDataModule(
            alignment=AlignmentSource(shards=sets or (alignment and str(alignment))),
            refinement=RefinementSource(
                shards=str(refinement_folder), validation_shards=validation
            ),
            pattern=pattern or {"alignment": 1, "refinement": 1},
            masks=MaskSettings(area_factor=2.0),
            seed=1,
            **{**SIZES, **sizes},
        )

    return build


def hole_shares(data, steps):
    stream = data.stream()
    return [float(stream[2 * step].artifact_mask.float().mean()) for step in steps]


def test_a_curriculum_changes_the_first_batches_and_no_later_ones(module):
    plain = module()
    eased = module(curriculum=Curriculum(samples=8, area_factor=6.0))
    # Steps 0 and 1 are the first of each mode; 8 samples are two batches of a mode.
    first, later = hole_shares(eased, (0, 1)), hole_shares(eased, (4, 5, 30))
    assert all(a > 1.5 * b for a, b in zip(first, hole_shares(plain, (0, 1)), strict=True))
    assert later == hole_shares(plain, (4, 5, 30))


def test_the_curriculum_travels_to_loader_workers(module):
    data = module(curriculum=Curriculum(samples=100, area_factor=3.0))
    stream = pickle.loads(pickle.dumps(data.stream()))
    assert torch.equal(stream[0].artifact_mask, data.stream()[0].artifact_mask)


def test_shuffled_references_need_a_neighbour(module):
    with pytest.raises(InputError, match="per_device_batch=1; give at least 2"):
        module(shuffle_references=True, per_device_batch=1)
    right, wrong = module().stream()[0], module(shuffle_references=True).stream()[0]
    assert torch.equal(right.reference.roll(-1, 0), wrong.reference)


class Recorder(LightningModule):
    """One parameter, and a list of what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []
        self.validated_pixels, self.validated_ids = [], []

    def training_step(self, batch, _):
        self.seen.append((self.global_step, batch.mode.value, batch.draws.tolist()))
        return self.weight * batch.normalized().image.mean()

    def validation_step(self, batch, _, dataloader_idx=0):
        self.validated.append(batch.draws.tolist())
        self.validated_pixels.append(batch.image)
        self.validated_ids.append(batch.sample_ids)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data, steps, checkpoint=None, accumulation=2):
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False,
        accumulate_grad_batches=accumulation, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, use_distributed_sampler=False,
        num_sanity_val_steps=0, val_check_interval=4, check_val_every_n_epoch=None,
    )  # fmt: skip
    trainer.fit(recorder, datamodule=data, ckpt_path=checkpoint)
    return recorder, trainer


def test_lightning_sees_the_stream_and_resumes_at_the_step(module, refinement_folder, tmp_path):
    whole, _ = fit(module(validation=str(refinement_folder), num_validation_samples=3), 5)
    first = [
        (0, "alignment", [0, 1]), (0, "alignment", [2, 3]), (1, "refinement", [0, 1]),
        (1, "refinement", [2, 3]), (2, "alignment", [4, 5]), (2, "alignment", [6, 7]),
    ]  # fmt: skip
    assert whole.seen[:6] == first
    assert len(whole.seen) == 10
    assert whole.validated[:2] == [[0, 1], [2, 2]]
    _, trainer = fit(module(), 3)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    resumed, _ = fit(module(), 5, tmp_path / "x.ckpt")
    assert resumed.seen == whole.seen[6:]


def test_another_accumulation_is_refused(module):
    with pytest.raises(InputError, match=r"accumulate_grad_batches=1.*needs 2"):
        fit(module(), 1, accumulation=1)


def test_check_and_describe(module, caplog):
    data = module()
    data.check(num_devices=2)
    described = data.describe()
    ((name, photos), *_) = described["alignment"].items()
    assert name.startswith("photos")
    assert (photos["samples"], photos["share"]) == (23, 1.0)
    assert photos["batches_per_epoch"] == 23 / 4
    assert next(iter(described["refinement"].values()))["shards"] == 3
    assert not caplog.records
    with pytest.raises(InputError, match=r"global_batch=4.*nearest are 6"):
        data.check(num_devices=3)


def test_fewer_samples_than_a_batch_warn_with_both_numbers(module, caplog):
    with caplog.at_level(logging.WARNING):
        module(global_batch=20).check()
    assert len(caplog.records) == 1
    assert "hold 13 samples, fewer than a global batch of 20" in caplog.text


@pytest.fixture
def two_sets(alignment_folder, tmp_path, make):
    """A setting of two named sets, 23 and 5 photos, that share batches 1 : 3."""
    few = make.shards(tmp_path / "few", Mode.ALIGNMENT, 5)
    return {
        "many": {"shards": str(alignment_folder), "weight": 1},
        "few": {"shards": str(few), "weight": 3},
    }


@pytest.mark.parametrize("node_parts", [1, 2])
def test_two_sets_share_the_batches_and_each_keeps_its_epochs(module, two_sets, node_parts):
    data = module(sets=two_sets, pattern={"alignment": 1, "refinement": 0}, node_parts=node_parts)
    stream, taken = data.stream(), {"many": [], "few": []}
    draws = []
    for item in range(2 * 23):
        batch = stream[item]
        draws += batch.draws.tolist()
        for sample_id in batch.sample_ids:
            taken[sample_id.split("/")[0]].append(sample_id)
    assert sorted(draws) == list(range(92))
    # A quarter of 92 positions; two parts take turns together.
    assert len(taken["many"]) == len(set(taken["many"])) == {1: 23, 2: 22}[node_parts]
    counts = [taken["few"].count(sample_id) for sample_id in set(taken["few"])]
    assert sorted(counts) == {1: [13, 14, 14, 14, 14], 2: [14] * 5}[node_parts]


def test_sets_are_described_and_counted_one_by_one(module, two_sets, caplog):
    data = module(sets=two_sets, global_batch=8)
    with caplog.at_level(logging.WARNING):
        data.check()
    assert "few hold 5 samples, fewer than the 6.0 that a global batch of 8 takes" in caplog.text
    described = data.describe()["alignment"]
    assert {name: facts["samples"] for name, facts in described.items() if name in two_sets} == {
        "few": 5, "many": 23,
    }  # fmt: skip
    assert described["few"]["share"] == 0.75
    assert described["few"]["batches_per_epoch"] == 5 / 6
    epochs = data.epochs(20)  # 10 alignment steps
    assert epochs["alignment_few"] == 60 / 5
    assert epochs["alignment_many"] == 20 / 23
    assert epochs["refinement"] == 80 / 13
    facts = data.stream_facts()["alignment"]["sets"]
    assert {name: facts[name]["weight"] for name in facts} == {"few": 3, "many": 1}
    assert len(facts["many"]["shards"].splitlines()) == described["many"]["shards"]


def test_each_validation_set_is_validated_on_its_own(module, alignment_folder, refinement_folder):
    validation = {"a": str(refinement_folder), "b": str(refinement_folder)}
    data = module(validation=validation, num_validation_samples=3)
    assert data.describe()["refinement"]["validation samples"] == {"a": 3, "b": 3}
    ids = fit(data, 2)[0].validated_ids
    assert [{sample_id.split("/")[0] for sample_id in batch} for batch in ids[:4]] == [
        {"a"}, {"a"}, {"b"}, {"b"},
    ]  # fmt: skip


def test_parts_that_do_not_divide_the_batch_or_the_shards(module, caplog):
    with pytest.raises(InputError, match=r"global_batch=4.*data\.node_parts=3.*are 3 and 6"):
        module(node_parts=3).check()
    with pytest.raises(InputError, match="node_parts=0"):
        module(node_parts=0)
    with caplog.at_level(logging.WARNING):
        module(node_parts=4).check()
    assert "data.node_parts=4, but" in caplog.text
    assert "only 3 refinement shards" in caplog.text


def test_an_unused_mode_needs_no_shards(module):
    data = module(pattern={"alignment": 0, "refinement": 1}, alignment=None)
    data.check()
    assert list(data.describe()) == ["refinement"]
    assert data.stream()[0].mode is Mode.REFINEMENT
    with pytest.raises(InputError, match=r"data\.alignment\.shards.*alternation\.alignment=0"):
        module(alignment=None).check()


def test_wrong_shards_masks_and_sizes(module, refinement_folder, tmp_path):
    with pytest.raises(InputError, match="holds refinement shards"):
        module(alignment=refinement_folder).check()
    with pytest.raises(InputError, match="no shard matches"):
        module(alignment=f"{tmp_path}/*.tar").check()
    with pytest.raises(InputError, match="image_size=8"):
        module(image_size=8).check()
    with pytest.raises(InputError, match="num_workers=-1"):
        module(num_workers=-1)


def test_the_seed_changes_training_but_not_validation(module, refinement_folder):
    one = module(validation=str(refinement_folder))
    two = module(validation=str(refinement_folder))
    two.seed = 2
    assert one.stream()[0].sample_ids != two.stream()[0].sample_ids
    a, b = (fit(data, 2)[0].validated_pixels[0] for data in (one, two))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    "path", sorted(CONFIG_FOLDER.glob("alternation/*.yaml")), ids=lambda p: p.stem
)
def test_the_shipped_configuration_builds(path, alignment_folder, refinement_folder):
    config = OmegaConf.create(
        {
            "seed": 0, "global_batch": 2, "per_device_batch": 2,
            "model": {"image_size": 32, "reference_size": 32},
            "alternation": OmegaConf.load(path),
            "data": OmegaConf.load(CONFIG_FOLDER / "data" / "default.yaml"),
        }
    )  # fmt: skip
    config.data.alignment.shards = str(alignment_folder)
    config.data.refinement.shards = str(refinement_folder)
    data = instantiate(config.data)
    assert isinstance(data, AlternatingDataModule)
    data.check()
    batch = data.stream()[0]
    assert batch.image.shape == (2, 3, 32, 32)
    assert batch.mode is data.pattern.mode(0)


def test_different_samples_read_stop_at_the_size_of_a_set(module, refinement_folder):
    data = module(validation=str(refinement_folder), num_validation_samples=5)
    # 4 samples a step, the modes in turn; 23 photos and 13 pairs.
    read = {0: 0, 1: 4, 2: 8, 7: 28, 8: 29, 11: 36, 1000: 36}
    assert {step: data.samples_read(step) for step in read} == read
    assert data.samples_read(3, validation=True) == 5
