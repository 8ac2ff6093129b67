"""IDM-VTON: results called after the person's picture; garments lie in VITON-HD's folders."""

from collections.abc import Iterator
from pathlib import Path

from rba.errors import InputError
from rba.evaluation.importers.found import (
    FilePart,
    Found,
    ImportSettings,
    LeftOut,
    file_called,
    generated_images,
    mask_file,
    no_mask,
    shown,
    side_file,
)

PAIRS = ("paired", "unpaired")
_LIST = "test_pairs.txt"


def find_idm_vton(settings: ImportSettings) -> Iterator[Found | LeftOut]:
    """Find ``PERSON.jpg`` with ``cloth/GARMENT.jpg`` of VITON-HD, ``cloth-mask`` as object mask.

    ``REFERENCES`` is VITON-HD's folder, or its ``test``. Paired results show each person's own
    garment, unpaired ones that of ``test_pairs.txt``.

    Raises:
        InputError: If the folder is not VITON-HD's, or both garments are possible.
    """
    root = settings.references
    if root is None:
        raise InputError("--references is missing; give VITON-HD's folder, with test/cloth in it")
    test = root / "test" if (root / "test" / "cloth").is_dir() else root
    if not (test / "cloth").is_dir():
        raise InputError(f"--references {root} holds no test/cloth; give VITON-HD's folder")
    listed = _listed_garments(test)
    for image in generated_images(settings.source):
        garments = _garments(image, settings.pairs, listed)
        yield _find(image, settings, test, garments)


def _find(image: Path, settings: ImportSettings, test: Path, garments: set[str]) -> Found | LeftOut:
    name = shown(image, settings)
    if len(garments) != 1:
        count = "several garments" if garments else "no garment"
        return LeftOut(name=name, reason=f"{_LIST} lists {count} for it; use --from csv")
    garment = Path(garments.pop())
    cloth = file_called(test / "cloth", garment.stem, image)
    if cloth is None:
        return LeftOut(name=name, reason=f"its garment {garment} is not in {test}/cloth")
    mask = mask_file(image, settings)
    if mask is None:
        return no_mask(image, settings)
    object_mask = file_called(test / "cloth-mask", cloth.stem, image)
    return Found(
        id=image.stem,
        image=FilePart(path=image),
        mask=FilePart(path=mask),
        references=((FilePart(path=cloth), object_mask),),
        correspondence=side_file(image, "correspondence"),
        truth=side_file(image, "truth"),
        metadata={"source": name, "garment": cloth.name},
    )


def _listed_garments(test: Path) -> dict[str, set[str]]:
    """Read the list of persons and garments; empty where there is none."""
    for path in (test / _LIST, test.parent / _LIST):
        if path.is_file():
            break
    else:
        return {}
    listed: dict[str, set[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if words and len(words) != 2:
            raise InputError(f"{path}:{number}: {line!r}; give a person and a garment")
        if words:
            listed.setdefault(Path(words[0]).stem, set()).add(words[1])
    return listed


def _garments(image: Path, pairs: str | None, listed: dict[str, set[str]]) -> set[str]:
    """Return the garments that a result may show."""
    own, other = {image.name}, listed.get(image.stem, set())
    if pairs == "paired":
        return own
    if pairs == "unpaired":
        return set(other)
    if {Path(name).stem for name in other} - {image.stem}:
        raise InputError(
            f"{image.name} may wear its own garment or {' or '.join(sorted(other))} of {_LIST}; "
            "say --pairs paired, or unpaired if it was made with --unpaired"
        )
    return own
