"""The commands of README and docs/data.md run, as written but for sizes, in an empty folder."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from rba.settings import CONFIG_FOLDER, compose_config, plain

ROOT = CONFIG_FOLDER.parent
README = (ROOT / "README.md").read_text()
DATA = (ROOT / "docs" / "data.md").read_text()
# What needs a network, or data sets that no test can make.
NOT_HERE = (
    "export ",
    "out=photos 'queries=[cat,\"yellow flower\"]'",
    "images=photos",
    "MVIMGNET",
    "CO3D",
)

# What the reader replaces or already has, and sizes that a test can afford.
SMALLER = {
    "images=PHOTOS": "images=PHOTOS shortest_side=64",
    "objects=OBJECTS": "objects=OBJECTS",
    "count=100 size=512": "count=4 size=64",
    "count=1000 size=512": "count=4 size=64",
    "max_steps=2000": "max_steps=2 global_batch=2 per_device_batch=2 data.num_workers=0",
    "step_00002000": "step_00000002",
    "--output refined.png": "--output refined.png --steps 2",
    "count=100": "count=2 size=96",
    "--device cuda:0,cuda:1": "--device cpu --steps 2",
    "--output report": "--output report --steps 1 --calibration-steps 0",
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str = README) -> Iterator[str]:
    for block in blocks("bash", text):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split("  #")[0].strip()
            if command and not command.startswith(("make", "tensorboard")):
                yield command


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, objects and a case, all rendered."""
    folder = tmp_path_factory.mktemp("reader")
    run("python data_tools/render_objects.py out=OBJECTS count=3 size=96 photos_out=PHOTOS "
        "num_photos=4", folder)  # fmt: skip
    describe_weights(folder)
    view = cv2.imread(str(folder / "OBJECTS" / "object-000000" / "00.png"))
    cv2.imwrite(str(folder / "image.png"), view)
    cv2.imwrite(str(folder / "photo.jpg"), view)
    mask = np.zeros(view.shape[:2], np.uint8)
    mask[40:52, 44:60] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    job = {"image": "image.png", "mask": "mask.png", "reference": "photo.jpg"}
    (folder / "jobs.jsonl").write_text(json.dumps(job) + "\n")
    return folder


def describe_weights(folder: Path) -> None:
    """Write what the weights of the paper's scale say of themselves: SD and DINOV2, no weight."""
    shards = ["data.alignment.shards=a", "data.refinement.shards=r"]
    model = plain(compose_config("train", ["experiment=paper", *shards]).model)
    parts = {
        "SD/vae/config.json": model["network"]["autoencoder"]["architecture"],
        "SD/unet/config.json": model["network"]["unet"]["architecture"],
        "SD/scheduler/scheduler_config.json": {
            name: value for name, value in model["scheduler"].items() if name != "_target_"
        },
        "DINOV2/config.json": {
            "model_type": "dinov2",
            **model["network"]["encoder"]["architecture"],
        },
    }
    for name, settings in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(settings))


def run(command: str, folder: Path) -> str:
    for long, short in SMALLER.items():
        command = command.replace(long, short)
    command = command.replace("torchrun", f"{sys.executable} -m torch.distributed.run")
    command = re.sub(r"^python (\S+)", rf"{sys.executable} {ROOT}/\1", command)
    command = re.sub(r"^rba ", f"{sys.executable} -m rba.cli ", command)
    if "experiment=paper" in command:  # the paper's scale: composed and checked, not trained
        command = re.sub(r"^.*train\.py", f"{sys.executable} {ROOT}/train.py", command)
        command += " check=true"
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_every_command_in_order_and_the_python_example(workplace: Path) -> None:
    ran = [command for command in commands() if run(command, workplace) is not None]
    assert len(ran) == 11
    assert json.loads((workplace / "refined" / "image.json").read_text())["status"] == "done"
    refined = cv2.imread(str(workplace / "refined.png"))
    before = cv2.imread(str(workplace / "image.png"))
    assert refined.shape == before.shape
    assert np.array_equal(refined[:16], before[:16])
    assert not np.array_equal(refined, before)
    assert (workplace / "steps" / "panel.png").is_file()
    assert (workplace / "report" / "worst.png").is_file()
    (script,) = blocks("python")
    script = script.replace('.to("cuda")', '.to("cpu")') + "\nprint(output.images[0].size)\n"
    (workplace / "example.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=workplace, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "(96, 96)"


@pytest.mark.slow
def test_the_commands_from_pictures_to_shards(workplace: Path) -> None:
    folder = workplace / "data"
    folder.mkdir()
    for name in ("PHOTOS", "OBJECTS"):
        (folder / name).symlink_to(workplace / name)
    run("python data_tools/synthesize_masks.py out=PAL count=44 size=48", folder)
    ran = [
        command
        for command in commands(DATA)
        if command.endswith("check=true") or not any(part in command for part in NOT_HERE)
    ]
    for command in ran:
        run(command, folder)
    assert len(ran) == 11
    one, parts = (folder / "shards" / name / "manifest.json" for name in ("photos", "big"))
    assert one.read_bytes() == parts.read_bytes()
    assert (folder / "preview.png").is_file()
    assert (folder / "description" / "description.png").is_file()
    assert (folder / "pal-fit" / "comparison.png").is_file()


def test_the_readme_is_short_and_its_settings_exist() -> None:
    from rba.settings import compose_config

    assert len(README.splitlines()) < 200
    for override in ("alternation=alignment_only", "check=true", "record_samples=true"):
        assert override in README
        compose_config(
            "train",
            ["experiment=tiny", "data.alignment.shards=a", "data.refinement.shards=null", override],
        )
