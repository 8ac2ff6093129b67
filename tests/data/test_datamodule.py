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

SIZES = {"global_batch": 4, "per_device_batch": 2, "image_size": 32, "reference_size": 32}


@pytest.fixture
def module(alignment_folder, refinement_folder):
    def build(pattern=None, validation=None, alignment=alignment_folder, **sizes):
        return AlternatingDataModule(
            alignment=AlignmentSource(shards=alignment and str(alignment)),
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

    def training_step(self, batch, _):
        self.seen.append((self.global_step, batch.mode.value, batch.draws.tolist()))
        return self.weight * batch.normalized().image.mean()

    def validation_step(self, batch, _):
        self.validated.append(batch.draws.tolist())

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


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
@pytest.mark.filterwarnings("ignore:.*GPU available but not used")
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
    assert described["alignment"]["samples"] == 23
    assert described["alignment"]["batches_per_epoch"] == 23 / 4
    assert described["refinement"]["shards"] == 3
    assert not caplog.records
    with pytest.raises(InputError, match=r"global_batch=4.*nearest are 6"):
        data.check(num_devices=3)


def test_fewer_samples_than_a_batch_warn_with_both_numbers(module, caplog):
    with caplog.at_level(logging.WARNING):
        module(global_batch=20).check()
    assert len(caplog.records) == 1
    assert "hold 13 samples, fewer than a global batch of 20" in caplog.text


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
    streams = [d._mode_stream(d.validation_shards[Mode.REFINEMENT], validation=True)
               for d in (one, two)]  # fmt: skip
    a, b = (stream.example(0) for stream in streams)
    assert a.sample_id == b.sample_id
    assert (a.image == b.image).all()


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
