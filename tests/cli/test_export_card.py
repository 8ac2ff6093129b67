"""The exported folder's card, and that the folder opens offline without the trainer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rba.cli import main
from rba.inference.model_card import write_card
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import describe_scheduler
from rba.models.origins import licence_of, weight_origins

SETS = {"photos": {"weight": 1, "shards": "a.tar 10 00ff\nb.tar 4 11ee"}}
ORIGINS = {
    "unet": {"source": "runwayml/stable-diffusion-v1-5", "licence": "CreativeML OpenRAIL-M"},
    "encoder": {"source": "facebook/dinov2-large", "licence": "Apache-2.0"},
}
CONFIG: dict[str, Any] = {
    "run_name": "mine", "runs_folder": "/somewhere/runs", "seed": 3, "global_batch": 4,
    "alternation": {"_target_": "x", "alignment": 1, "refinement": 1, "alignment_only_steps": 0},
    "data": {"alignment": {"shards": "/somewhere/a"}, "masks": {"profile": "/somewhere/p.yaml"}},
    "callbacks": {"ema": {"decay": 0.9}},
}  # fmt: skip


@pytest.fixture
def checkpoint(model_folder: Path) -> dict[str, Any]:
    pipeline = RefineByAlignPipeline.open(model_folder)
    state = {f"network.{name}": v for name, v in pipeline.network.state_dict().items()}
    facts = {
        "network": pipeline.network.describe(), "image_size": 32, "reference_size": 16,
        "scheduler": describe_scheduler(pipeline.scheduler), "train_encoder": True,
        "config": CONFIG, "origins": ORIGINS,
        "stream": {"node_parts": 1, "alignment": {"shuffle_window": 8, "sets": SETS}},
    }  # fmt: skip
    return {"state_dict": state, "global_step": 5, "callbacks": {}, "rba": facts}


def test_the_card_tells_data_settings_figures_and_licences(
    checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(checkpoint, tmp_path / "step.ckpt")
    figures = tmp_path / "metrics.json"
    figures.write_text(json.dumps({"max_change_outside_mask": 0.4321}))
    command = ["export", f"--checkpoint={tmp_path}/step.ckpt", f"--output={tmp_path}/model",
               "--raw", f"--figures={figures}"]  # fmt: skip
    assert main(command) == 0
    card = (tmp_path / "model" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "creativeml-openrail-m"
    assert front["base_weights"] == ORIGINS
    for words in (
        "# mine\n", "The trained weights as they were, stored in float32",
        "| unet | runwayml/stable-diffusion-v1-5 | CreativeML OpenRAIL-M |",
        "limits what they may be used for", "- optimiser steps: 5",
        "- samples of alignment: 12", "- samples of refinement: 8",
        "| alignment | photos | 14 | 2 |", "`a.tar 00ff`, `b.tar 11ee`", "seed: 3",
        "| max change outside mask | 0.4321 |",
        "profile: p.yaml", "ema_decay: 0.9",
    ):  # fmt: skip
        assert words in card, words
    assert "somewhere" not in card
    assert str(tmp_path) not in card
    again = weight_origins({}, str(tmp_path / "model"))
    assert again == ORIGINS | {
        "model": {"source": "model", "licence": "Apache-2.0 and CreativeML OpenRAIL-M"}
    }
    assert main([*command[:2], f"--output={tmp_path}/other", f"--figures={tmp_path}/no"]) == 2


def test_what_is_not_known_is_called_unknown(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    assert licence_of("stable-diffusion-v1-5/stable-diffusion-inpainting") == (
        "CreativeML OpenRAIL-M"
    )
    assert licence_of("facebook/dinov2-with-registers-base") == "Apache-2.0"
    for other in (str(tmp_path), "someone/model"):
        assert licence_of(other) == "unknown: ask the source"
    network = {"unet": {"source": str(tmp_path / "sd.safetensors")}, "connector": {}, "size": 3}
    assert weight_origins(network, None) == {
        "unet": {"source": "sd.safetensors", "licence": "unknown: ask the source"},
        "connector": {"source": "random weights, trained here", "licence": ""},
    }
    tiny = {"source": "tiny, of this package", "licence": "Apache-2.0"}
    assert weight_origins({}, "tiny") == {"model": tiny}
    facts = {name: checkpoint["rba"][name] for name in ("network", "image_size")}
    card = write_card({"rba": facts, "global_step": 0}, use_ema=True, dtype="float16")
    assert "license: other" in card
    assert "not recorded | unknown: ask the source |" in card
    assert "The moving average, stored in float16" in card


def test_a_folder_opens_offline_in_a_fresh_process_without_the_trainer(
    checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(checkpoint, tmp_path / "step.ckpt")
    output = ["--output", str(tmp_path / "model"), "--raw"]
    export = f"from rba.cli import main; main({['export', '--checkpoint', 'step.ckpt', *output]!r})"
    code = (
        f"import sys; {export}\n"
        "from rba.inference.pipeline import RefineByAlignPipeline\n"
        "RefineByAlignPipeline.open('model')\n"
        "names = ('lightning', 'pytorch_lightning')\n"
        "found = [n for n in sys.modules if n.split('.')[0] in names]\n"
        "print('loaded:', found)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "loaded: []" in ran.stdout
