"""Draw a contact sheet of shards: objects, artifact masks, matches, where holes map to.

python data_tools/preview_shards.py shards=DIR out=PNG [key=value ...]
"""

from pathlib import Path

from omegaconf import DictConfig

from rba.data.shard_preview import PreviewSettings, preview_sheet
from rba.data.shards import ShardSet
from rba.errors import InputError
from rba.pictures import write_png
from rba.settings import plain, tool_main


def main(config: DictConfig) -> None:
    """Draw and write the sheet.

    Raises:
        InputError: If the shards cannot be opened, or a setting is out of its range.
    """
    values = plain(config)
    shards, out = ShardSet.open(values.pop("shards")), Path(values.pop("out")).expanduser()
    if out.suffix.lower() != ".png":
        raise InputError(f"out={out}; give a file that ends in .png")
    sheet = preview_sheet(shards, PreviewSettings(**values))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(out, sheet)
    print(f"{out}: {sheet.shape[1]}x{sheet.shape[0]} pixels")


if __name__ == "__main__":
    tool_main("preview_shards", main)
