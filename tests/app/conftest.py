"""The page without a browser: its components, a tab, and a model of the real classes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from rba.app.examples import load_examples
from rba.app.layout import lay_out
from rba.app.loading import Loading
from rba.app.matching import AUTOMATIC, Matching
from rba.app.page import plainly
from rba.app.parts import Parts
from rba.app.refining import Options, Refiner
from rba.app.session import Session, Sessions
from rba.app.uploads import Limits
from rba.app.working import WHOLE, Working
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.autoencoder import PatchAutoencoder
from rba.models.connector import Connector
from rba.models.encoder import load_encoder
from rba.models.network import RefinementNetwork
from rba.models.unet import load_unet

LIMITS = Limits(references=2, results=2)
TAB = gr.Request(session_hash="tab")


class Tab:
    """A page in a browser tab: its handlers and what it shows."""

    def __init__(self, refiner: Refiner, folder: Path) -> None:
        with gr.Blocks():
            self.parts: Parts = lay_out("random", Options(steps=2), LIMITS, [])
        self.sessions = Sessions(folder)
        self.matching = Matching(self.parts, self.sessions)
        self.loading = Loading(self.parts, self.sessions, LIMITS, load_examples())
        self.working = Working(self.parts, self.sessions, LIMITS, refiner, self.matching)
        self.settings: dict[str, Any] = {"steps": 2, "guidance_scale": 2.0, "seed": 0}
        self.region: Any = None
        self.chosen = AUTOMATIC
        self.view = WHOLE

    @property
    def session(self) -> Session:
        return self.sessions.of("tab")

    def values(self, editor: Any) -> dict[Any, Any]:
        fixed = {"zoom_in": True, "crop_factor": 3.0, "max_magnification": 4.0, "num_noises": 1}
        named = {**fixed, "separate": True, **self.settings}
        named |= {"view": self.view, "region": self.region, "chosen": self.chosen}
        return {getattr(self.parts, name): value for name, value in named.items()} | {
            self.parts.editor: editor
        }

    def do(self, handler: Any, *arguments: Any) -> str:
        """Call a handler as the page does; return what the status line says."""
        self.updates = plainly(handler, self.parts)(*arguments)
        return str(self.updates.get(self.parts.status, ""))


@pytest.fixture(autouse=True)
def closed_loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gradio makes event loops wherever none runs, and never closes them."""
    made: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", noted)
    yield
    if made:
        asyncio.set_event_loop(None)
    for loop in made:
        loop.close()


@pytest.fixture(scope="session")
def refiner() -> Refiner:
    """32-pixel crops, 16-pixel references of 4 x 4 tokens; random weights."""
    torch.manual_seed(0)
    encoder = {"image_size": 16, "patch_size": 4, "hidden_size": 16}
    network = RefinementNetwork(
        PatchAutoencoder(patch_size=4),
        load_encoder(None, encoder | {"num_hidden_layers": 1, "num_attention_heads": 2}),
        Connector(16, 16, 16),
        load_unet(
            None,
            {
                "sample_size": 8,
                "in_channels": 97,
                "out_channels": 48,
                "block_out_channels": [8, 8, 8, 8],
                "attention_head_dim": 2,
                "cross_attention_dim": 16,
                "norm_num_groups": 4,
            },
        ),
        reference_size=16,
    )
    schedule = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    pipeline = RefineByAlignPipeline.from_network(network, schedule, image_size=32)
    return Refiner(pipeline, "random")


@pytest.fixture
def dropped(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a picture as the browser would have uploaded it."""

    def drop(name: str, height: int = 60, width: int = 80, seed: int = 0, **kind: Any) -> str:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        path = tmp_path / "uploads" / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, **kind)
        return str(path)

    return drop


@pytest.fixture
def painted() -> Callable[..., dict[str, Any]]:
    """Return a function that makes what the editor gives for a painted rectangle."""

    def paint(
        height: int = 60, width: int = 80, box: tuple[int, int, int, int] = (20, 30, 34, 50)
    ) -> dict[str, Any]:
        layer = np.zeros((height, width, 4), np.uint8)
        layer[box[0] : box[2], box[1] : box[3]] = (255, 64, 96, 140)
        background = np.full((height, width, 4), 255, np.uint8)
        return {"background": background, "layers": [layer], "composite": background}

    return paint


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gradio's cache inside the test's folder, and no analytics."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    return folder


@pytest.fixture
def tab(refiner: Refiner, environment: Path) -> Tab:
    return Tab(refiner, environment)


@pytest.fixture
def loaded(tab: Tab, dropped: Callable[..., str]) -> Tab:
    """A tab with a picture and one reference."""
    assert "Paint over" in tab.do(tab.loading.picture, dropped("image.png"), TAB)
    tab.do(tab.loading.references, [dropped("a.png", 50, 40, seed=1)], TAB)
    return tab
