"""Steps of a long command whose results stay on disk: what is whole is not made again."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError

Command = tuple[str, ...]
"""A command of the project: ``train.py``, ``data_tools/NAME.py`` or ``rba``, then its arguments."""


class Steps:
    """Run steps in order; a record of each says by which commands it was made and whether it ended.

    A step that was killed starts anew, but for a training, whose own checkpoints continue it.

    Args:
        folder: Where the records lie, one ``NAME.json`` a step.
        run: Runs a command; raises where it fails.
        adopt: Take results that lie in their place without a record as whole, instead of refusing.
    """

    def __init__(
        self, folder: Path, run: Callable[[Command], None], *, adopt: bool = False
    ) -> None:
        self.folder = folder
        self.run = run
        self.adopt = adopt

    def take(
        self,
        name: str,
        commands: Sequence[Command],
        *,
        makes: Sequence[Path],
        continues: Path | None = None,
        after: Sequence[str] = (),
    ) -> str:
        """Run the commands of a step unless the same ones have already made what it makes.

        Args:
            name: The step's name.
            commands: Run in order.
            makes: What is there when the step is whole; removed before the step is run again.
            continues: Folder of a training, which is never removed.
            after: What `take` returned for the steps whose results this one reads.

        Returns:
            A digest of the commands and of those before them.

        Raises:
            InputError: If results lie in their place that other commands, or nobody known, made.
        """
        digest = _digest(commands, after)
        known = self._read(name)
        if known is None and self._adopts(name, makes, continues):
            self._write(name, commands, digest, whole=True)
            return digest
        if known is not None and known["digest"] == digest:
            if known["whole"] and all(path.exists() for path in makes):
                print(f"skipping {name}: whole, by the same commands", flush=True)
                return digest
            print(f"going on with {name}, which an earlier start left unfinished", flush=True)
        elif known is not None:
            if continues is not None and continues.exists():
                raise InputError(
                    f"{continues} was trained with other settings, or on other data, than {name} "
                    "now wants; give out=ANOTHER, or remove that folder"
                )
            print(f"making {name} anew: its settings changed", flush=True)
        for path in makes:
            _remove(path)
        self._write(name, commands, digest, whole=False)
        for command in commands:
            self.run(command)
        for path in makes:
            if not path.exists():
                raise InputError(f"{name} ended without {path}; see the commands above")
        self._write(name, commands, digest, whole=True)
        return digest

    def is_known(self, name: str) -> bool:
        """Return whether a step was ever started here."""
        return self._read(name) is not None

    def commands(self, name: str) -> list[Command]:
        """Return the commands of a step that was taken."""
        known = self._read(name)
        assert known is not None
        return [tuple(command) for command in known["commands"]]

    def _adopts(self, name: str, makes: Sequence[Path], continues: Path | None) -> bool:
        """Return whether results without a record are taken as whole; refuse them otherwise."""
        there = [path for path in (*makes, continues) if path is not None and path.exists()]
        if not there:
            return False
        if not self.adopt:
            raise InputError(
                f"{there[0]} exists and is no result of this command; give another folder, remove "
                "it, or take it as it is with adopt=true"
            )
        missing = [path for path in makes if not path.exists()]
        if not missing:
            print(f"adopting {name}: {', '.join(map(str, makes))} as they are", flush=True)
        elif len(missing) < len(makes):
            raise InputError(f"{there[0]} cannot be adopted: {missing[0]} is missing beside it")
        return not missing

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        try:
            known: Any = json.loads(path.read_text(encoding="utf-8"))
            return {key: known[key] for key in ("commands", "digest", "whole")}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged; remove it and what {name} made") from error

    def _write(self, name: str, commands: Sequence[Command], digest: str, *, whole: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path, partial = self.folder / f"{name}.json", self.folder / f".{name}.partial"
        record = {"commands": [list(c) for c in commands], "digest": digest, "whole": whole}
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def _digest(commands: Sequence[Command], after: Sequence[str]) -> str:
    text = json.dumps([[list(command) for command in commands], list(after)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
