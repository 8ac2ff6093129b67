import importlib.util
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rba.errors import InputError
from rba.masks.statistics import mask_statistics
from rba.pictures import read_image, read_mask
from rba.rendering.files import open_object_folder
from rba.settings import compose_config

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *overrides: str) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / "data_tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[object], None] = module.main
    main(compose_config(f"data_tools/{name}", overrides))


def test_render_objects_writes_objects_and_photos(tmp_path: Path) -> None:
    out, photos = tmp_path / "objects", tmp_path / "photos"
    arguments = (f"out={out}", f"photos_out={photos}", "num_photos=2", "count=2", "size=32")
    run("render_objects", *arguments, "shapes=[card]", "split=heldout")
    assert sorted(path.name for path in out.iterdir()) == ["object-000000", "object-000001"]
    folder = open_object_folder(out / "object-000001")
    assert len(folder.views) == 2
    assert folder.correspondence(*folder.views, (32, 32)) is not None
    facts = json.loads((folder.path / "object.json").read_text())
    assert (facts["shape"], facts["split"], facts["index"]) == ("card", "heldout", 1)
    assert [read_image(path).shape for path in sorted(photos.iterdir())] == [(32, 32, 3)] * 2
    with pytest.raises(InputError, match="overwrite=true"):
        run("render_objects", *arguments)
    run("render_objects", *arguments, "overwrite=true", "count=1")
    assert [path.name for path in out.iterdir()] == ["object-000000"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("fill=3", "fill=3 must be a list"),
        ("fill=[0.5,3]", "fill"),
        ("shapes=[torus]", "torus"),
        ("density=[0,2]", "density"),
        ("density=[2]", "a setting of a wrong kind"),
        ("look_alike_share=2", "look_alike_share"),
        ("size=big", "size=big must be a whole number"),
        ("split=half", "split=half"),
        ("textures=/no/such/folder", "/no/such/folder"),
        ("num_photos=3", "photos_out"),
        ("colour=red", "colour"),
    ],
)
def test_render_objects_names_mistakes_and_writes_nothing(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run("render_objects", f"out={tmp_path / 'out'}", "count=1", override)
    assert not list(tmp_path.iterdir())


def test_unseen_solids_with_look_alikes_become_alignment_shards(tmp_path: Path) -> None:
    objects, shards = tmp_path / "objects", tmp_path / "shards"
    style = ("density=[3,5]", "mosaic_share=0.5", "look_alike_share=1.0", "split=heldout")
    shapes = "shapes=[prism,frustum,dome]"
    run("render_objects", f"out={objects}", "count=4", "size=64", "supersampling=1", shapes, *style)
    facts = [json.loads(path.read_text()) for path in objects.glob("*/object.json")]
    assert {fact["shape"] for fact in facts} <= {"prism", "frustum", "dome"}
    assert all(fact["look_alikes"] for fact in facts)
    run("build_alignment_shards", f"images={objects}", f"out={shards}", "shortest_side=64")
    with tarfile.open(next(shards.glob("*.tar"))) as content:
        names = sorted(content.getnames())
    # Views with their object masks; masks and correspondences are no pictures of their own.
    assert len(names) == 3 * 8
    assert sum(name.endswith(".mask.png") for name in names) == 8
    assert not any("correspondence" in name for name in names)


def test_synthesize_masks_writes_masks_and_report(tmp_path: Path) -> None:
    arguments = (f"out={tmp_path / 'masks'}", "count=5", "size=64", "seed=3")
    run("synthesize_masks", *arguments)
    files = sorted((tmp_path / "masks").glob("mask-*.png"))
    assert len(files) == 5
    masks = [read_mask(path) for path in files]
    summary = json.loads((tmp_path / "masks" / "statistics.json").read_text())
    areas = [mask_statistics(mask).area_ratio for mask in masks]
    assert summary["area_ratio"]["q50"] == pytest.approx(np.median(areas))
    assert summary["count"] == 5
    assert read_image(tmp_path / "masks" / "report.png").std() > 10
    before = [path.read_bytes() for path in files]
    run("synthesize_masks", *arguments, "overwrite=true")
    assert [path.read_bytes() for path in files] == before
    with pytest.raises(InputError, match="overwrite=true"):
        run("synthesize_masks", *arguments)
    with pytest.raises(InputError, match="count=0"):
        run("synthesize_masks", f"out={tmp_path / 'none'}", "count=0")
    with pytest.raises(InputError, match="no-profile"):
        run("synthesize_masks", f"out={tmp_path / 'none'}", "profile=no-profile")
