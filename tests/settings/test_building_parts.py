"""`build` refuses what a part does not know, takes for another kind, or refuses itself."""

import re

import pytest
from omegaconf import OmegaConf

from rba.errors import InputError
from rba.settings import build

PARTS = "rba.training.callbacks"
CHECKPOINTS = {"_target_": f"{PARTS}.resume_checkpoint.ResumeCheckpoint", "folder": "x"}
VALIDATION = {"_target_": "rba.training.validation.ValidationSettings"}
OBJECTIVE = {"_target_": "rba.training.loss.Objective"}
SCHEDULE = {"_target_": "diffusers.DDIMScheduler"}
SOURCE = {"_target_": "rba.data.sources.AlignmentSource", "shards": None}


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": f"{PARTS}.ema.EMACallback", "decay": 1}, "decay=1"),
        ({"_target_": f"{PARTS}.ema.EMACallback", "decay": "x"}, ".decay=x must be a number"),
        ({"_target_": f"{PARTS}.progress.ProgressLog", "every_n_steps": 0}, "every_n_steps=0"),
        ({**CHECKPOINTS, "every_n_steps": 0}, "every_n_steps=0"),
        ({**CHECKPOINTS, "every_n_steps": 1, "keep": 0}, "keep=0"),
        ({**CHECKPOINTS, "every_n_steps": 1.5}, "every_n_steps=1.5 must be a whole number"),
        ({**CHECKPOINTS, "every_n_steps": True}, "every_n_steps=True must be a whole number"),
        ({**VALIDATION, "sampler_step_index": 50}, "sampler_step_index=50"),
        ({**VALIDATION, "picture_steps": 0}, "picture_steps=0"),
        ({**VALIDATION, "layer": -1}, "layer=-1"),
        ({**OBJECTIVE, "drop_probability": 2}, "drop_probability=2"),
        ({**OBJECTIVE, "timestep_range": [5]}, "[5]"),
        ({**OBJECTIVE, "timestep_range": 5}, "timestep_range=5 must be a list"),
        ({**SCHEDULE, "beta_schedule": "odd"}, "odd"),
        ({**SCHEDULE, "beta_schedule": 3}, "beta_schedule=3 must be text"),
        ({**SOURCE, "shuffle_window": 0}, "shuffle_window=0"),
        ({"_target_": "rba.data.alternation.ModePattern", "alignment": -1}, "alignment=-1"),
        ({"_target_": "rba.data.alternation.ModePattern", "alignment": 1.5}, "alignment=1.5"),
        ({"_target_": "no.such.Part"}, "no.such.Part"),
        ({"decay": 0.9}, "no _target_"),
    ],
)
def test_a_part_is_not_built_of_unfit_settings(node: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        build(OmegaConf.create({"group": node}).group)
