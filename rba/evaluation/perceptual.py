"""LPIPS of the refined region to the truth, given a working torchvision and its weights."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.methods import MethodResult
from rba.evaluation.similarity_scores import region_crop
from rba.geometry import resize

SIDE = 256  # pixels
WEIGHTS = "alexnet-owt-7be5be79.pth"  # torchvision's AlexNet; its hash begins so
_HASH = "7be5be79"

Score = Callable[[Case, MethodResult], float | None]


def open_lpips(folder: str) -> Score | str:
    """Open torchmetrics' LPIPS (AlexNet) with local weights; it downloads nothing.

    Args:
        folder: torch.hub's folder, which holds ``checkpoints/alexnet-owt-7be5be79.pth``, or that
            folder ``checkpoints``.

    Returns:
        Score of the refined region against the truth, both cropped around the artifact mask by
        `rba.evaluation.similarity_scores.CROP_RULE` and resized to 256 pixels; or the reason why
        torchvision is not to be had.

    Raises:
        InputError: If the folder does not hold the weights, whole.
    """
    hub = Path(folder).resolve()
    hub = hub.parent if hub.name == "checkpoints" else hub
    weights = hub / "checkpoints" / WEIGHTS
    if not weights.is_file():
        raise InputError(
            f"--lpips {folder} holds no checkpoints/{WEIGHTS}; give torch.hub's folder after "
            "torchvision has downloaded its AlexNet"
        )
    # torchvision unpickles the file: only the one that it published is let through.
    if not hashlib.sha256(weights.read_bytes()).hexdigest().startswith(_HASH):
        raise InputError(f"{weights} is not torchvision's file, or damaged; download it again")
    try:
        network = _load(hub)
    # torchvision is missing (ModuleNotFoundError), or was built for another torch (RuntimeError).
    except (ImportError, RuntimeError) as error:
        return f"torchvision does not work here: {str(error).strip().splitlines()[0]}"

    def score(case: Case, result: MethodResult) -> float | None:
        if case.truth is None:
            return None
        pictures = [
            resize(region_crop(picture, case.artifact_mask), SIDE, SIDE)
            for picture in (result.image, case.truth)
        ]
        pair = [torch.from_numpy(item).permute(2, 0, 1)[None] / 255.0 for item in pictures]
        with torch.inference_mode():
            return float(network(*pair))

    return score


def _load(hub: Path) -> Callable[..., torch.Tensor]:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    previous = torch.hub.get_dir()
    torch.hub.set_dir(os.fspath(hub))  # where torchvision looks before it asks the network
    try:
        return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
    finally:
        torch.hub.set_dir(previous)
