"""Data tools as typed."""

import importlib.util
import sys
from collections.abc import Callable

import pytest

from rba.settings import CONFIG_FOLDER, tool_main


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a data tool as typed and returns what it printed."""

    def typed(name: str, *arguments: object) -> str:
        path = CONFIG_FOLDER.parent / "data_tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [path.name, *map(str, arguments)])
        tool_main(name, module.main)
        return capsys.readouterr().out

    return typed


@pytest.fixture
def ended(
    run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str, str]]:
    """Return a function that runs a data tool, which must leave early: status, output, errors."""

    def typed(name: str, *arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as left:
            run(name, *arguments)
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return typed


@pytest.fixture
def refusal(ended: Callable[..., tuple[object, str, str]]) -> Callable[..., str]:
    """Return a function that runs a data tool, which must end with one line and status 2."""

    def typed(name: str, *arguments: object) -> str:
        status, _, printed = ended(name, *arguments)
        lines = printed.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        assert status == 2
        assert errors == lines[-1:]
        return errors[0]

    return typed
