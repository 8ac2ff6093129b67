"""`rba app`: its options, its password, and what it says where gradio is missing."""

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest

from rba.app import command
from rba.app.command import AppCommand, password_check, read_password, serving
from rba.cli import main
from rba.errors import InputError


def test_without_the_extra_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def missing(name: str, *rest: Any) -> Any:
        return None if name == "gradio" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert main(["app", "--model", "tiny"]) == 2
    assert "pip install 'refine-by-align[app]'" in capsys.readouterr().err


def test_the_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(command.PASSWORD_VARIABLE, raising=False)
    assert read_password(None) is None
    monkeypatch.setenv(command.PASSWORD_VARIABLE, "anna:violet:7")
    assert read_password(None) == ("anna", "violet:7")
    (tmp_path / "secret").write_text("otto:rose\n")
    assert read_password(str(tmp_path / "secret")) == ("otto", "rose")
    check = password_check("anna", "violet:7")
    assert check("anna", "violet:7")
    assert not check("anna", "violet")
    assert not check("Änna", "violet:7")


@pytest.mark.parametrize("text", ["", "anna", "anna:", ":violet", "\n"])
def test_half_a_password_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with pytest.raises(InputError, match="does not hold USER:PASSWORD") as caught:
        read_password(str(tmp_path / "secret"))
    assert "violet" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_password(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 0}, "--port 0 does not exist"),
        ({"model": "nowhere"}, "not a shipped model"),
        ({"steps": 0}, "0 sampler steps"),
        ({"queue_size": 0}, "the limit queue is 0"),
        ({"device": "cuda:99"}, "--device cuda:99"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], words: str) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    given: dict[str, Any] = {"model": "tiny", "device": "cpu"} | options
    with pytest.raises(InputError, match=words), serving(AppCommand(**given)):
        pass


def test_a_taken_port_is_named() -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = AppCommand(model="tiny", device="cpu", port=port)
        with pytest.raises(InputError, match=f"served at 127.0.0.1:{port}"), serving(options):
            pass
