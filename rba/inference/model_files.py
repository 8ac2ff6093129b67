"""A model directory's files: silence while they are read, and nothing of this machine in them."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import diffusers
import transformers


@contextlib.contextmanager
def without_library_bars() -> Generator[None]:
    """Silence the progress bars that diffusers and transformers draw for every file."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()


def make_portable(path: Path) -> None:
    """Take out of a written configuration what holds on this machine or for one part alone.

    The libraries note the folder that a part was read from. transformers opens its parts in the
    precision that they note, diffusers in float32: noting that keeps half-precision folders in
    one piece.
    """
    config: dict[str, Any] = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    if "dtype" in config:
        config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
