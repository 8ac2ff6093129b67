"""Names of shipped models: what they mean, and what is told about those that mean nothing."""

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models import shipped
from rba.models.model_directory import load_parts
from rba.models.network import PARTS, RefinementNetwork
from rba.models.shipped import resolve_model, shipped_models


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An assets folder with two names and a folder that is no model; the user stands elsewhere."""
    folder = tmp_path / "package" / "assets"
    for name in ("small", "tiny"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model_index.json").write_text("{}")
    (folder / "pictures").mkdir()
    monkeypatch.setattr(shipped, "ASSETS", folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_assets_lie_inside_the_package() -> None:
    import rba

    assert rba.__file__ is not None
    assert shipped.ASSETS.parent.samefile(Path(rba.__file__).parent)
    assert shipped.ASSETS.name == "assets"


def test_a_name_gives_the_shipped_folder(assets: Path) -> None:
    assert shipped_models() == {name: assets / name for name in ("small", "tiny")}
    assert resolve_model("tiny") == assets / "tiny"
    assert resolve_model(Path("tiny")) == assets / "tiny"


def test_an_existing_folder_wins(assets: Path) -> None:
    Path("tiny").mkdir()
    assert resolve_model("tiny") == Path("tiny")
    assert resolve_model(assets / "small") == assets / "small"


@pytest.mark.parametrize("name", ["large", "pictures", "./tiny", "../assets/tiny", "tiny/unet"])
def test_another_name_lists_the_shipped_ones(assets: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_model(name)
    assert str(caught.value).startswith(f"{name} is not a model directory (no such folder)")
    assert "small, tiny" in str(caught.value)


def test_a_file_is_said_to_be_one(assets: Path) -> None:
    Path("tiny.ckpt").touch()
    with pytest.raises(InputError, match=r"tiny\.ckpt .*it is a file.*`rba export` makes"):
        resolve_model("tiny.ckpt")


def test_a_package_without_models_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "ASSETS", tmp_path / "none")
    with pytest.raises(InputError, match=r"not a shipped model \(shipped: none\)"):
        resolve_model("large")


def test_a_shipped_model_opens_by_its_name(assets: Path, network: RefinementNetwork) -> None:
    pipeline = RefineByAlignPipeline.from_network(network, DDIMScheduler(), image_size=64)
    pipeline.write(assets / "tiny")
    opened, parts = RefineByAlignPipeline.open("tiny"), load_parts("tiny")
    for name in PARTS:
        for key, tensor in getattr(network, name).state_dict().items():
            assert torch.equal(getattr(opened, name).state_dict()[key], tensor)
            assert torch.equal(parts[name].state_dict()[key], tensor)
