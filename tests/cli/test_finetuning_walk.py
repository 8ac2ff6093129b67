"""The walk of docs/finetuning.md, command by command, on photos made here."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rba.models.lora import ADAPTER_FILE
from rba.settings import CONFIG_FOLDER

ROOT = CONFIG_FOLDER.parent
DOCS = ROOT / "docs" / "finetuning.md"


def views_of_a_print(folder: Path, count: int) -> None:
    """Photos of a printed card that is turned a little from view to view."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    blocks = random.integers(0, 255, (40, 40, 3), np.uint8)
    card = cv2.resize(blocks, (400, 400), interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        shift = 22.0 * number
        corners = np.array([[60, 60], [460, 60], [460, 460], [60, 460]], np.float32)
        seen = corners + np.array([[shift, shift], [-shift, 0], [0, shift / 2], [0, 0]], np.float32)
        square = np.array([[0, 0], [400, 0], [400, 400], [0, 400]], np.float32)
        matrix = cv2.getPerspectiveTransform(square, seen)
        view = cv2.warpPerspective(card, matrix, (512, 512), borderValue=(90, 90, 90))
        Image.fromarray(view).save(folder / f"{number:02d}.jpg", quality=95)
        mask = cv2.warpPerspective(np.full((400, 400), 255, np.uint8), matrix, (512, 512))
        Image.fromarray(mask).save(folder / f"{number:02d}.mask.png")


def commands() -> list[list[str]]:
    """The walk's commands, without comments, continued lines joined."""
    text = DOCS.read_text().split("```bash\n")[1].split("```")[0].replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [line[1] for line in lines if line[0] == "python"] == [
        "data_tools/build_refinement_shards.py",
        "data_tools/build_alignment_shards.py",
        "data_tools/preview_shards.py",
        "train.py",
    ]
    assert [line[1] for line in lines if line[0] == "rba"] == ["export", "refine"]
    return lines


SMALLER = {
    "data_tools/build_refinement_shards.py": ["workers=1"],
    "data_tools/build_alignment_shards.py": ["workers=1"],
    "train.py": [
        "experiment=finetune_tiny", "init_from=tiny", "max_steps=4", "global_batch=2",
        "per_device_batch=2", "data.num_workers=0", "callbacks.resume_checkpoint.every_n_steps=4",
    ],
    "refine": ["--steps=2", "--device=cpu"],
}  # fmt: skip


def as_run(line: list[str]) -> list[str]:
    """The command as the document has it, at a smaller size and with this checkout's programs."""
    shorter = SMALLER.get(line[1], [])
    words = [word.replace("step_00000400", "step_00000004") for word in line]
    words = [w for w in words if w not in ("experiment=finetune", "init_from=MODEL")]
    program = [str(ROOT / words[1])] if words[0] == "python" else ["-m", "rba.cli", words[1]]
    return [sys.executable, *program, *words[2:], *shorter]


@pytest.mark.slow
def test_the_documented_walk_ends_with_a_refined_picture(tmp_path: Path) -> None:
    views_of_a_print(tmp_path / "photos" / "backpack", 5)
    image = np.array(Image.open(tmp_path / "photos/backpack/01.jpg"))
    image[200:260, 220:300] = 128
    Image.fromarray(image).save(tmp_path / "image.png")
    mask = np.zeros((512, 512), np.uint8)
    mask[200:260, 220:300] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for line in commands():
        done = subprocess.run(
            as_run(line), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr[-2000:])
        if line[1] == "train.py":
            assert "trained parameters: lora" in done.stdout
    refined = np.array(Image.open(tmp_path / "refined.png"))
    assert refined.shape == image.shape
    assert not np.array_equal(refined[200:260, 220:300], image[200:260, 220:300])
    assert np.array_equal(refined[:100], image[:100])
    card = (tmp_path / "backpack" / "README.md").read_text()
    assert "tiny, of this package" in card
    assert "- optimiser steps: 4" in card
    checkpoint = tmp_path / "runs/backpack/checkpoints/step_00000004.ckpt"
    export = ["export", "--adapter", f"--checkpoint={checkpoint}", "--output=adapter"]
    subprocess.run([sys.executable, "-m", "rba.cli", *export], cwd=tmp_path, check=True)
    assert (tmp_path / "adapter" / ADAPTER_FILE).stat().st_size < 600_000
