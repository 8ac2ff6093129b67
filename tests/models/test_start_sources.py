"""A configuration's pretrained parts, checked before a weight is read; offline mode honoured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from rba.errors import InputError
from rba.models.start_sources import check_schedule, check_sources
from rba.settings import compose_config, plain

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def paper() -> Settings:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    return plain(compose_config("train", ["experiment=paper", *shards]).model)


def folder(path: Path, paper: Settings, **unet: Any) -> str:
    """A diffusers folder without weights: configurations alone, and the published schedule."""
    network = paper["network"]
    for name, config in {
        "vae": network["autoencoder"]["architecture"],
        "unet": network["unet"]["architecture"] | unet,
        # stable-diffusion-v1-5's own scheduler/scheduler_config.json
        "scheduler": {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                      "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
                      "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1},
    }.items():  # fmt: skip
        (path / name).mkdir(parents=True)
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (path / name / file).write_text(json.dumps(config))
    return str(path)


def sources(paper: Settings, source: str) -> Settings:
    """The paper's network with one source for both of its parts, and no encoder."""
    network = {
        name: part | {"source": source}
        for name, part in paper["network"].items()
        if name in ("autoencoder", "unet")
    }
    return network | {"encoder": {"source": None}}


def test_one_setting_is_the_source_of_autoencoder_and_unet() -> None:
    overrides = ["data.alignment.shards=a", "data.refinement.shards=b", "model.source=sd.ckpt"]
    network = compose_config("train", ["experiment=paper", *overrides]).model.network
    assert (network.autoencoder.source, network.unet.source) == ("sd.ckpt", "sd.ckpt")


@pytest.mark.parametrize("channels", [4, 9])
def test_a_folder_of_the_family_passes_by_its_configurations(
    paper: Settings, tmp_path: Path, channels: int
) -> None:
    source = folder(tmp_path / "sd", paper, in_channels=channels)
    check_sources(sources(paper, source), paper["scheduler"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cross_attention_dim": 1024}, "of Stable Diffusion 2 .*dim is 1024 there"),
        ({"cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20]}, "of SDXL"),
        ({"in_channels": 8}, "8 input channels; 4 or 9 fit"),
        ({"block_out_channels": [320, 640, 1280]}, "block_out_channels is"),
    ],
)  # fmt: skip
def test_a_folder_of_another_family_is_refused_by_its_configuration(
    paper: Settings, tmp_path: Path, changes: Settings, words: str
) -> None:
    source = folder(tmp_path / "sd", paper, **changes)
    with pytest.raises(InputError, match=rf"model\.network\.unet\.source: .*{words}"):
        check_sources(sources(paper, source), paper["scheduler"])


def test_a_source_of_another_noise_schedule_is_refused(paper: Settings, tmp_path: Path) -> None:
    PNDMScheduler(beta_schedule="linear").save_pretrained(tmp_path / "scheduler")
    with pytest.raises(InputError, match="beta_schedule is 'linear' there, 'scaled_linear' here"):
        check_schedule(str(tmp_path), paper["scheduler"])


def test_teaching_another_prediction_type_is_said(
    paper: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = folder(tmp_path, paper)
    check_schedule(source, paper["scheduler"])
    assert caplog.text == ""
    check_schedule(source, paper["scheduler"] | {"prediction_type": "v_prediction"})
    assert "was trained to predict epsilon; this run teaches it v_prediction" in caplog.text


def test_the_configured_schedule_is_the_published_one(paper: Settings, tmp_path: Path) -> None:
    folder(tmp_path, paper)
    settings = {k: v for k, v in paper["scheduler"].items() if k != "_target_"}
    published: Any = PNDMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    configured = DDIMScheduler(**settings)
    torch.testing.assert_close(configured.alphas_cumprod, published.alphas_cumprod)


_OFFLINE = """
import socket
def refuse(*_): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from rba.errors import InputError
from rba.models.encoder import check_encoder
from rba.models.unet import load_unet
for ask in (lambda: load_unet("nobody/nothing", {}), lambda: check_encoder("nobody/dinov2")):
    try:
        ask()
    except InputError as error:
        print(error)
"""


def test_offline_mode_asks_no_network_and_says_so(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", _OFFLINE]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    unet, encoder = ran.stdout.splitlines()
    for message in (unet, encoder):
        assert "HF_HUB_OFFLINE=1" in message
        assert "hf download nobody/" in message


def test_a_dry_run_passes_over_what_is_not_on_this_machine(
    paper: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    check_sources(paper["network"], paper["scheduler"], look_up=False)
    assert caplog.text.count("is not on this machine") == 3
    paper["network"]["encoder"]["source"] = str(tmp_path / "missing")
    with pytest.raises(InputError, match="missing does not exist"):
        check_sources(paper["network"], paper["scheduler"], look_up=False)
