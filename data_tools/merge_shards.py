"""Make one set of shards of the parts that jobs with parts=N built in one folder.

python data_tools/merge_shards.py out=OUT [key=value ...]
"""

from omegaconf import DictConfig

from rba.data.build import merge_parts
from rba.settings import tool_main


def main(config: DictConfig) -> None:
    """Merge the parts; the result has the bytes that one job would have written.

    Raises:
        InputError: If a part is missing or differs from the others.
    """
    merge_parts(config.out, overwrite=config.overwrite, remove_parts=config.remove_parts)


if __name__ == "__main__":
    tool_main("merge_shards", main)
