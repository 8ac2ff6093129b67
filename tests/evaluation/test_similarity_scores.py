"""DINO and CLIP by small folders with random weights; LPIPS by a random AlexNet."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from rba.case import Case
from rba.errors import InputError
from rba.evaluation import perceptual
from rba.evaluation.encoders import PictureEncoder, open_clip, open_dino
from rba.evaluation.methods import MethodResult
from rba.evaluation.scoring import ScoringSettings, make_metrics, score_result
from rba.evaluation.similarity_scores import SimilarityScorer, region_crop

CPU = torch.device("cpu")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    vision = SMALL | {
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 16,
    }
    text = SMALL | {"intermediate_size": 64, "vocab_size": 100, "max_position_embeddings": 8}
    clip = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    models: dict[str, Any] = {
        "dinov2": Dinov2Model(Dinov2Config(**SMALL, image_size=56, patch_size=14)),
        "vit": ViTModel(ViTConfig(**SMALL, intermediate_size=64, image_size=32, patch_size=16)),
        "clip": CLIPModel(clip),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
    return {name: root / name for name in models}


@pytest.fixture(scope="module")
def case() -> Case:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    truth = cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((96, 96), bool)
    mask[40:62, 30:60] = True
    image = np.where(mask[..., None], np.uint8(90), truth)
    return Case(
        id="made",
        image=image,
        artifact_mask=mask,
        references=(np.roll(truth, 8, axis=1),),
        reference_masks=(None,),
        truth=truth,
        correspondence_mask=np.roll(mask, 8, axis=1).astype(np.float32),
    )


def test_names_pin_model_size_and_crop(folders: dict[str, Path], tmp_path: Path) -> None:
    settings = ScoringSettings(dino=str(folders["dinov2"]), clip=str(folders["clip"]))
    names = set(make_metrics(settings))
    for name in ("dinov2_vitw32p14_224_region1.5", "clip_i_vitw32p8_32_region1.5"):
        assert {name, f"{name}_before", f"{name}_gain"} <= names
    assert not {"dino", "clip_i"} & names
    (tmp_path / "model.safetensors").touch()
    for width, patch, name in ((384, 14, "vits14"), (768, 14, "vitb14"), (1024, 14, "vitl14")):
        facts = {"model_type": "dinov2", "hidden_size": width, "patch_size": patch}
        (tmp_path / "config.json").write_text(json.dumps(facts))
        assert open_dino(str(tmp_path), CPU).name == f"dinov2_{name}_224"
    facts = {"model_type": "clip", "vision_config": {"patch_size": 32, "image_size": 224}}
    (tmp_path / "config.json").write_text(json.dumps(facts))
    assert open_clip(str(tmp_path), CPU).name == "clip_vitb32_224"


def test_features_are_transformers_own(folders: dict[str, Path]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    vit = open_dino(str(folders["vit"]), CPU)
    assert (vit.name, vit.side) == ("dino_vitw32p16_32", 32)
    scaled = torch.from_numpy(picture).permute(2, 0, 1)[None].double() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        model = ViTModel.from_pretrained(folders["vit"]).eval()
        tokens = model(pixel_values=((scaled - mean) / std).float()).last_hidden_state
    np.testing.assert_allclose(vit(picture), tokens[0, 0].numpy(), atol=1e-5)
    clip = open_clip(str(folders["clip"]), CPU)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.inference_mode():
        model = CLIPVisionModelWithProjection.from_pretrained(folders["clip"]).eval()
        expected = model(pixel_values=((scaled - mean) / std).float()).image_embeds
    np.testing.assert_allclose(clip(picture), expected[0].numpy(), atol=1e-5)


def test_similarity_is_torchs_cosine_of_the_crops(folders: dict[str, Path], case: Case) -> None:
    settings = ScoringSettings(dino=str(folders["dinov2"]), clip=str(folders["clip"]))
    metrics = make_metrics(settings)
    assert case.truth is not None
    scores = score_result(metrics, case, MethodResult(image=case.truth))
    encoder = open_dino(str(folders["dinov2"]), CPU)
    # 1.5 x 30 pixels around the middles (51, 45) and (51, 53)
    vectors = [
        torch.from_numpy(encoder(picture[28:73, x0 : x0 + 45]))
        for picture, x0 in ((case.image, 22), (case.truth, 22), (case.references[0], 30))
    ]
    before, after = (float(torch.cosine_similarity(v, vectors[2], dim=0)) for v in vectors[:2])
    name = "dinov2_vitw32p14_224_region1.5"
    assert scores[f"{name}_before"] == pytest.approx(before, abs=1e-6)
    assert scores[name] == pytest.approx(after, abs=1e-6)
    assert scores[f"{name}_gain"] == pytest.approx(after - before, abs=1e-6)
    assert scores[name] == pytest.approx(1.0, abs=1e-6)  # the same pixels
    assert scores[f"{name}_gain"] > 1e-4
    assert scores["clip_i_vitw32p8_32_region1.5"] == pytest.approx(1.0, abs=1e-6)


def test_without_a_matched_region_there_is_no_figure(case: Case) -> None:
    scorer = SimilarityScorer(_Counting())
    unknown = dataclasses.replace(case, correspondence_mask=None)
    result = MethodResult(image=case.image)
    assert scorer.before(unknown) is None
    assert scorer.gain(unknown, result) is None
    faint = dataclasses.replace(case, correspondence_mask=np.full((96, 96), 0.4, np.float32))
    assert scorer.after(faint, result) is None


class _Counting(PictureEncoder):
    def __init__(self) -> None:
        super().__init__(Path(), "mean", 8, "", CPU)
        self.calls = 0

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        self.calls += 1
        return picture.astype(np.float32).mean(axis=(0, 1))


def test_equal_crops_are_encoded_once(case: Case) -> None:
    encoder = _Counting()
    scorer = SimilarityScorer(encoder)
    for _ in range(3):
        scorer.gain(case, MethodResult(image=case.image))
    assert encoder.calls == 2  # the defect's crop and the reference's


@pytest.mark.parametrize("place", [(0, 0), (10, 12), (19, 24)])
def test_crops_hold_a_pixel_at_any_place(place: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 25, 3)).astype(np.uint8)
    mask = np.zeros((20, 25), bool)
    mask[place] = True
    cut = region_crop(picture, mask)
    assert cut.shape == (32, 32, 3)
    assert (cut == picture[place]).all(axis=2).any()


def test_other_models_and_damage_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--dino .* holds clip"):
        open_dino(str(folders["clip"]), CPU)
    with pytest.raises(InputError, match=r"--clip .* holds dinov2"):
        open_clip(str(folders["dinov2"]), CPU)
    with pytest.raises(InputError, match="no readable config"):
        open_dino(str(tmp_path), CPU)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(InputError, match="holds no weights"):
        open_dino(str(tmp_path), CPU)


def random_alexnet() -> nn.Sequential:
    """AlexNet's features (Krizhevsky 2014) with random weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


@torch.no_grad()
def lpips_by_hand(first: np.ndarray, second: np.ndarray, lin: dict[str, torch.Tensor]) -> float:
    """Zhang et al. 2018, equation 1, layer by layer."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    values = [
        ((2 * torch.from_numpy(p).permute(2, 0, 1).float() / 255 - 1 - shift) / scale)[None]
        for p in (first, second)
    ]
    total, seen = 0.0, 0
    for layer in random_alexnet():
        values = [layer(value) for value in values]
        if isinstance(layer, nn.ReLU):
            one, other = (v / v.norm(dim=1, keepdim=True) for v in values)
            weights = lin[f"lin{seen}.model.1.weight"]
            total += float((weights * (one - other) ** 2).sum(dim=1).mean())
            seen += 1
    return total


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "checkpoints").mkdir()
    content = b"stands for the file that torchvision would read"
    (tmp_path / "checkpoints" / perceptual.WEIGHTS).write_bytes(content)
    monkeypatch.setattr(perceptual, "_HASH", hashlib.sha256(content).hexdigest()[:8])
    return tmp_path


def test_lpips_is_the_papers_sum(hub: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional.image import lpips as functional
    from torchmetrics.image import lpip

    monkeypatch.setattr(lpip, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(functional, "_get_tv_model_features", lambda *a, **k: random_alexnet())
    metrics = make_metrics(ScoringSettings(lpips=str(hub / "checkpoints")))
    name = "lpips_alex_256_region1.5"
    assert case.truth is not None
    assert score_result(metrics, case, MethodResult(image=case.truth))[name] == 0.0
    lin = torch.load(
        Path(functional.__file__).parent / "lpips_models" / "alex.pth",
        weights_only=True,
        map_location="cpu",
    )
    pair = [
        cv2.resize(p[28:73, 22:67], (256, 256), interpolation=cv2.INTER_CUBIC)
        for p in (case.image, case.truth)
    ]
    value = score_result(metrics, case, MethodResult(image=case.image))[name]
    assert value == pytest.approx(lpips_by_hand(pair[0], pair[1], lin), rel=1e-4)
    assert value > 0.01


def test_without_torchvision_lpips_says_so(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.image import lpip

    monkeypatch.setattr(lpip, "_TORCHVISION_AVAILABLE", False)
    metric = make_metrics(ScoringSettings(lpips=str(hub)))["lpips_alex_256_region1.5"]
    assert metric.score is None
    assert metric.skipped is not None
    assert "torchvision does not work here" in metric.skipped


def test_another_file_than_torchvisions_is_refused(hub: Path) -> None:
    (hub / "checkpoints" / perceptual.WEIGHTS).write_bytes(b"anything")
    with pytest.raises(InputError, match="damaged"):
        make_metrics(ScoringSettings(lpips=str(hub)))
