"""Sources of pretrained parts: whole, of the right architecture, or refused at start."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from rba.errors import InputError
from rba.models.autoencoder import load_autoencoder
from rba.models.sources import check_source, load_pretrained, refuse_unknown, require_same

Settings = dict[str, Any]


def test_a_diffusers_folder_gives_its_weights_back(
    kl: AutoencoderKL, autoencoder_settings: Settings, tmp_path: Path
) -> None:
    kl.save_pretrained(tmp_path / "vae")
    loaded = load_autoencoder(str(tmp_path), autoencoder_settings)
    state = loaded.state_dict()
    assert set(state) == set(kl.state_dict())
    assert all(torch.equal(state[name], value) for name, value in kl.state_dict().items())


def test_every_differing_setting_is_listed_with_both_values(
    kl: AutoencoderKL, autoencoder_settings: Settings, tmp_path: Path
) -> None:
    kl.save_pretrained(tmp_path / "vae")
    wanted = autoencoder_settings | {"block_out_channels": [128, 256], "latent_channels": 16}
    with pytest.raises(InputError, match="AutoencoderKL of ") as caught:
        load_autoencoder(str(tmp_path), wanted)
    message = str(caught.value)
    assert "block_out_channels is [8, 16] there, [128, 256] here" in message
    assert "latent_channels is 4 there, 16 here" in message
    assert "norm_num_groups" not in message


def test_lists_and_tuples_are_the_same_architecture() -> None:
    require_same("x", "y", {"sizes": (1, (2, 3))}, {"sizes": [1, [2, 3]]})
    with pytest.raises(InputError, match=r"sizes is \[1, \[2, 4\]\] there, \[1, \[2, 3\]\] here"):
        require_same("x", "y", {"sizes": (1, (2, 3))}, {"sizes": [1, [2, 4]]})


def test_settings_that_the_source_does_not_state_are_not_compared() -> None:
    require_same("x", "y", {"new": 1}, {"old": 2})


@pytest.mark.parametrize("damage", ["missing", "garbage", "incomplete", "other shapes"])
def test_weights_that_are_not_whole_are_refused(
    kl: AutoencoderKL, tmp_path: Path, damage: str
) -> None:
    kl.save_pretrained(tmp_path / "vae")
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "garbage":
        weights.write_bytes(b"no weights")
    else:
        from safetensors.torch import save_file

        state = {name: value.contiguous() for name, value in kl.state_dict().items()}
        if damage == "incomplete":
            del state["encoder.conv_in.weight"]
        else:
            state["encoder.conv_in.weight"] = torch.zeros(4, 3, 3, 3)
        save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"cannot open AutoencoderKL in {tmp_path}/vae"):
        load_autoencoder(str(tmp_path))


def test_the_first_missing_tensor_is_named(kl: AutoencoderKL, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    kl.save_pretrained(tmp_path)
    state = {k: v.contiguous() for k, v in kl.state_dict().items() if not k.startswith("quant")}
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 2 of the part's tensors, quant_conv\.bias first"):
        load_pretrained(AutoencoderKL, str(tmp_path))


@pytest.mark.parametrize(
    "source", ["./none", "/none/there", "none", "a/b/c", "~/none", "../none/x"]
)
def test_a_path_that_is_not_there_is_refused_before_anything_loads(source: str) -> None:
    with pytest.raises(InputError, match="does not exist; give a local folder or a hub id"):
        check_source(source, "vae")


def test_a_hub_id_is_left_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_source("stable-diffusion-v1-5/stable-diffusion-inpainting", "vae")


def test_a_folder_without_the_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no folder vae; is it a diffusers folder"):
        check_source(str(tmp_path), "vae")
    (tmp_path / "vae").mkdir()
    check_source(str(tmp_path), "vae")
    check_source(str(tmp_path), "")


def test_a_hub_id_without_network_is_a_user_s_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot open AutoencoderKL in nobody/nothing/vae"):
        load_autoencoder("nobody/nothing")


def test_neither_source_nor_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="AutoencoderKL has neither a source nor an architecture"):
        load_autoencoder(None)


def test_unknown_settings_are_named_in_order(autoencoder_settings: Settings) -> None:
    with pytest.raises(InputError, match="AutoencoderKL knows no setting depth, width"):
        load_autoencoder(None, autoencoder_settings | {"width": 1, "depth": 2})
    refuse_unknown("x", {"a": 1}, ["a", "b"])
