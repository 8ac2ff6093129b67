"""Models that come with the package: folders of ``rba/assets``, opened by their name."""

from pathlib import Path

from rba.errors import InputError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
INDEX_NAME = "model_index.json"


def shipped_models() -> dict[str, Path]:
    """Return the model directories that the package brings, by name."""
    return {index.parent.name: index.parent for index in sorted(ASSETS.glob(f"*/{INDEX_NAME}"))}


def resolve_model(name_or_path: str | Path) -> Path:
    """Return the model directory that a user means.

    Args:
        name_or_path: A folder, or the name of a shipped model. An existing folder wins.

    Raises:
        InputError: If it is neither, listing the shipped names.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    shipped = shipped_models()
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    what = "it is a file" if path.exists() else "no such folder"
    raise InputError(
        f"{name_or_path} is not a model directory ({what}) and not a shipped model (shipped: "
        f"{', '.join(shipped) or 'none'}); `rba export` makes a directory of a checkpoint"
    )
