"""All benchmarks of docs/performance.md, one after the other: python benchmarks/rerun.py.

python benchmarks/rerun.py [--device cuda] [--dear] [--only NAME ...] [--list]

Each writes its JSON into `results/`; one that fails is named at the end and stops no other.
``--dear`` takes the full Stable Diffusion shapes on a CPU, too: hours of one core, 10 GiB. With
``--device cuda`` only those run that a GPU changes, at full shapes in bf16.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CPU = {
    "step": "training_step.py --rounds 24",
    "levers": "levers.py",
    "saving": "saving.py",
    "loader": "loader.py",
    "data_wait": "data_wait.py",
    "memory": "memory.py",
    "inference": "inference.py",
    "diffusers": "inference_diffusers.py",
    "references": "references.py",
    "build": "build.py",
    "decoders": "decoders.py",
    "masks": "masks.py",
    "matching": "matching.py",
    "data_tools": "data_tools.py",
    "startup": "startup.py",
    "scale": "scale.py",
    "loader_growth": "loader_scale.py growth",
    "data_growth": "data_growth.py",
    "inference_growth": "inference_growth.py",
    "ranks": "ranks.py",
    "growth": "growth.py",  # the picture, last
}
DEAR = {
    "inference_sd15": "inference.py --scale sd15 --rounds 3",
    "diffusers_sd15": "inference_diffusers.py --scale sd15 --bf16 --rounds 2",
}
CUDA = {
    "step": "training_step.py --scale paper --batch 24 trainer.precision=bf16-mixed "
    "callbacks.speed.frozen_dtype=bfloat16 callbacks.speed.channels_last=true "
    "callbacks.speed.compile=inductor",
    "levers": "levers.py --scale paper",
    "saving": "saving.py --scale paper",
    "memory": "memory.py",
    "inference": "inference.py --scale sd15",
    "diffusers": "inference_diffusers.py --scale sd15",
    "inference_growth": "inference_growth.py",
}


def main() -> None:
    """Read the command line and run what it asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dear", action="store_true", help="full shapes on a CPU, too")
    parser.add_argument("--only", nargs="+", help="names of benchmarks")
    parser.add_argument("--list", action="store_true", help="print the commands and end")
    given = parser.parse_args()
    commands = CUDA if given.device == "cuda" else CPU | (DEAR if given.dear else {})
    unknown = sorted(set(given.only or []) - set(commands))
    if unknown:
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(commands)}")
    failed: list[str] = []
    for name in given.only or commands:
        command = f"{commands[name]}{' --device cuda' if given.device == 'cuda' else ''}"
        print(f"== {name}: python benchmarks/{command}", flush=True)
        if given.list:
            continue
        script, *arguments = shlex.split(command)
        started = time.monotonic()
        done = subprocess.run([sys.executable, str(HERE / script), *arguments], check=False)
        print(
            f"== {name}: {time.monotonic() - started:.0f} s, status {done.returncode}", flush=True
        )
        if done.returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
