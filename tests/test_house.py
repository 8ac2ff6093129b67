"""Where things live and what may know what: the syntax trees held to the table below."""

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

# A file may import from LOWER rows only; rooms of one row never import each other.
ROWS: dict[int, tuple[str, ...]] = {
    -1: ("errors",),  # the one exception that every room raises
    0: ("batch", "case", "draws", "geometry", "host_memory", "pictures"),
    1: ("masks", "rendering", "attention", "metrics"),
    2: ("data", "models", "matching"),
    3: ("inference",),
    4: ("training", "evaluation"),
    5: ("settings", "app", "workflow", "demo", "tiny_model", "cli"),
    6: ("train",),
}
ROW_OF = {room: row for row, rooms in ROWS.items() for room in rooms}

# Beyond the rows: what runs the commands composes the same configurations that they take, and each
# subcommand is imported only when it is called.
ALSO_ALLOWED = {
    "cli": ("rba.app.command", "rba.workflow"),
    "workflow": ("rba.settings",),
    "demo": ("rba.settings", "rba.workflow"),
    "tiny_model": ("rba.settings", "rba.workflow"),
}

# What a script of data_tools/ may import of the framework (prefixes), and what not.
TOOLS_MAY_IMPORT = (
    *(f"rba.{room}" for row in (-1, 0, 1) for room in ROWS[row]),
    "rba.data",
    "rba.matching",
    "rba.models.encoder",
    "rba.settings",
)
TOOLS_MAY_NOT_IMPORT = ("rba.data.datamodule",)

# Third parties, and the only places that may import them (path prefixes).
FENCES: dict[str, tuple[str, ...]] = {
    "lightning": ("rba/training/", "rba/data/datamodule.py", "train.py"),
    "hydra": ("train.py", "data_tools/", "rba/settings/"),
    "omegaconf": ("train.py", "data_tools/", "rba/settings/"),
    "webdataset": ("rba/data/", "data_tools/"),
    "albumentations": ("rba/data/transforms.py",),
    "gradio": ("rba/app/",),
    **dict.fromkeys(
        ("diffusers", "transformers", "peft"),
        (
            "rba/models/",
            "rba/inference/pipeline.py",
            "rba/inference/call.py",
            "rba/inference/model_files.py",
            "rba/training/",
            "rba/evaluation/baselines/",
            "rba/evaluation/encoders.py",
        ),
    ),
}
# pickle runs code on loading; torchvision breaks beside a CPU build of torch.
BANNED_IMPORTS = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "torchvision")
BANNED_NAMES = ("utils", "util", "helpers", "helper", "common", "misc")

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = {"rba/": 300, "data_tools/": 100, "train.py": 90}

SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("rba/**/*.py"), *ROOT.glob("data_tools/*.py"), ROOT / "train.py")
)


def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), path)


def imports(module: ast.Module, path: str) -> Iterator[str]:
    """Every imported dotted name, wherever in the file it stands; `from a import b` gives a.b."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = Path(path).parent.parts[: None if node.level <= 1 else 1 - node.level]
            base = [*(package if node.level else ()), *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room_of(path: str) -> str:
    """The room a file belongs to: its folder or file name below rba/."""
    parts = Path(path).with_suffix("").parts
    return parts[1] if parts[0] == "rba" else parts[0]


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def layer_violations(module: ast.Module, path: str) -> list[str]:
    """Imports of our own rooms that the table forbids."""
    own = [name for name in imports(module, path) if name.startswith("rba.")]
    room = room_of(path)
    if room == "data_tools":
        return [
            f"{path} imports {name}: no room for data tools"
            for name in own
            if not within(name, TOOLS_MAY_IMPORT) or within(name, TOOLS_MAY_NOT_IMPORT)
        ]
    return [
        f"{path} (row {ROW_OF[room]}) imports {name}"
        for name in own
        if name.split(".")[1] != room
        and ROW_OF[name.split(".")[1]] >= ROW_OF[room]
        and not within(name, ALSO_ALLOWED.get(room, ()))
    ]


def fence_violations(module: ast.Module, path: str) -> list[str]:
    """Imports of third parties outside their fence, and of what nobody may import."""
    found: list[str] = []
    for name in imports(module, path):
        party = name.split(".")[0]
        if party in BANNED_IMPORTS or not path.startswith(FENCES.get(party, ("",))):
            found.append(f"{path} imports {name}")
    return found


def swallowed_errors(module: ast.Module) -> list[int]:
    """Lines of handlers that catch everything and do nothing."""
    lines: list[int] = []
    for node in ast.walk(module):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        idle = all(
            isinstance(statement, (ast.Pass, ast.Continue))
            or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
            for statement in node.body
        )
        if broad and idle:
            lines.append(node.lineno)
    return lines


def test_every_room_has_a_row() -> None:
    rooms = {room_of(path) for path in SOURCES} - {"__init__", "data_tools"}
    assert rooms <= set(ROW_OF), f"give them a row: {sorted(rooms - set(ROW_OF))}"


def test_files_import_from_lower_rows_only() -> None:
    rooms = [path for path in SOURCES if path != "rba/__init__.py"]
    assert [line for path in rooms for line in layer_violations(tree(path), path)] == []


def test_the_package_itself_imports_nothing() -> None:
    assert list(imports(tree("rba/__init__.py"), "rba/__init__.py")) == []


def test_third_parties_stay_behind_their_fences() -> None:
    assert [line for path in SOURCES for line in fence_violations(tree(path), path)] == []


@pytest.mark.parametrize(
    ("path", "code", "named"),
    [
        ("rba/masks/new.py", "import rba.data.order", "rba.data.order"),
        ("rba/masks/new.py", "from rba.metrics import region", "rba.metrics.region"),
        ("rba/masks/new.py", "def f():\n    from rba.models import unet", "rba.models.unet"),
        ("rba/geometry.py", "from rba.batch import Batch", "rba.batch.Batch"),
        ("rba/training/x.py", "from ..evaluation import report", "rba.evaluation.report"),
        ("rba/data/x.py", "if TYPE_CHECKING:\n    import rba.models.unet", "rba.models.unet"),
        ("rba/cli.py", "from rba import demo", "rba.demo"),
        ("data_tools/x.py", "from rba.data.datamodule import A", "rba.data.datamodule.A"),
        ("data_tools/x.py", "from rba.models.network import A", "rba.models.network.A"),
    ],
)
def test_the_rule_of_rows_sees_what_it_forbids(path: str, code: str, named: str) -> None:
    assert any(named in line for line in layer_violations(ast.parse(code), path))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("rba/inference/x.py", "import lightning.pytorch as pl"),
        ("rba/evaluation/report.py", "def f():\n    from diffusers import DDIMScheduler"),
        ("rba/training/x.py", "from omegaconf import DictConfig"),
        ("rba/data/warp.py", "import albumentations"),
        ("rba/data/x.py", "import pickle"),
    ],
)
def test_the_fences_see_what_they_forbid(path: str, code: str) -> None:
    assert len(fence_violations(ast.parse(code), path)) == 1


@pytest.mark.parametrize("body", ["pass", "continue", "..."])
@pytest.mark.parametrize("kind", ["", " Exception", " BaseException"])
def test_the_rule_of_errors_sees_what_it_forbids(kind: str, body: str) -> None:
    code = f"for a in b:\n    try:\n        f()\n    except{kind}:\n        {body}\n"
    assert swallowed_errors(ast.parse(code)) == [4]
    assert swallowed_errors(ast.parse(code.replace(f"except{kind}", "except KeyError"))) == []


def test_no_error_is_swallowed() -> None:
    found = [f"{path}:{line}" for path in SOURCES for line in swallowed_errors(tree(path))]
    assert found == []


def test_files_stay_short() -> None:
    found: list[str] = []
    for path in SOURCES:
        limit = next(limit for prefix, limit in MAX_FILE_LINES.items() if path.startswith(prefix))
        lines = len((ROOT / path).read_text().splitlines())
        if lines > limit:
            found.append(f"{path} has {lines} lines, at most {limit}")
    assert found == []


def test_functions_stay_short() -> None:
    found: list[str] = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.append(f"{path}:{node.lineno} {node.name} has {lines} lines")
    assert found == []


def test_no_file_is_named_after_nothing() -> None:
    tests = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/*.py")]
    named = [
        path for path in (*SOURCES, *tests) if set(Path(path).stem.split("_")) & {*BANNED_NAMES}
    ]
    folders = [path for path in SOURCES if set(Path(path).parent.parts) & {*BANNED_NAMES}]
    assert named + folders == []


def text_files() -> list[Path]:
    kinds = {".py", ".yaml", ".yml", ".md", ".toml", ".txt", ".json", ".cfg"}
    folders = ("rba", "conf", "data_tools", "docs", "benchmarks", "tests")
    inside = [path for folder in folders for path in (ROOT / folder).glob("**/*")]
    beside = [*ROOT.glob("*.*"), ROOT / "Makefile"]
    return [p for p in (*inside, *beside) if p.is_file() and (p.suffix in kinds or not p.suffix)]


def test_no_path_of_one_machine_is_written_down() -> None:
    path = re.compile(r"(?<![\w.~}/])/(?:home|root|work|Users|mnt|scratch)/\w|\b[A-Z]:\\\\?\w")
    assert path.search('open("/home/me/x")'), "the rule sees what it forbids"
    assert not path.search("https://a.org/home/x and a/mnt/b")
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in text_files()
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if path.search(line)
    ]
    assert found == []


def dependencies(name: str) -> set[str]:
    """The names of all distributions that installing ``name`` without extras brings."""
    seen: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(name), "")]
    while waiting:
        package, extra = waiting.pop()
        if (package, extra) in seen:
            continue
        seen.add((package, extra))
        try:
            lines = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted = canonicalize_name(requirement.name)
                waiting += [(wanted, ""), *((wanted, e) for e in requirement.extras)]
    return {package for package, _ in seen}


def test_our_dependencies_do_not_bring_torchvision() -> None:
    brought = dependencies("refine-by-align")
    assert {"torch", "lightning", "diffusers", "transformers", "fsspec", "numpy"} <= brought
    assert "torchvision" not in brought
    assert not brought & {"lpips", "timm", "litdata", "torch-fidelity", "albumentationsx"}
