"""``rba app``: check the options, open the model, serve the page until it is stopped."""

import contextlib
import dataclasses
import importlib.util
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from rba.errors import InputError

PASSWORD_VARIABLE = "RBA_APP_PASSWORD"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppCommand:
    """The command's options.

    Attributes:
        model: Model directory, or the name of a shipped one.
        host: Address that is listened on.
        port: Port; None = the first free one from 7860.
        password_file: File that holds ``USER:PASSWORD``; None = the environment variable
            ``RBA_APP_PASSWORD``, and without it no password.
        steps: Sampler steps at the start.
        guidance_scale: Guidance at the start.
        max_file_mb: Largest file that is taken, megabytes.
        max_megapixels: Largest picture that is taken.
        queue_size: Most computations that wait.
        device: ``auto`` or a torch device.
        annotate: Benchmark that what is painted can be kept in, new or not.
    """

    model: str
    host: str = "127.0.0.1"
    port: int | None = None
    password_file: str | None = None
    steps: int = 50
    guidance_scale: float = 5.0
    max_file_mb: int = 50
    max_megapixels: int = 50
    queue_size: int = 8
    device: str = "auto"
    annotate: str | None = None


def run_app(command: AppCommand) -> None:
    """Serve the page until SIGINT or SIGTERM, then delete every file that was dropped or made.

    Raises:
        InputError: If gradio is missing, an option is wrong, or the port is taken.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with serving(command) as url:
        print(f"The page is at {url} (Ctrl+C stops it and deletes what was dropped)", flush=True)
        stopped.wait()
    print("stopped; dropped pictures and results are deleted")


@contextlib.contextmanager
def serving(command: AppCommand) -> Generator[str]:
    """Serve the page inside the ``with`` block; its folder is gone afterwards.

    Yields:
        The page's address.

    Raises:
        InputError: As `run_app`.
    """
    require_gradio()
    password = read_password(command.password_file)
    if command.port is not None:
        _check_port(command.host, command.port)
    with _environment() as folder:
        page, launch = _build(command, folder, password)
        if password is None and not _is_local(command.host):
            print(
                f"note: anyone who reaches {command.host} can use this page; set "
                f"{PASSWORD_VARIABLE}=USER:PASSWORD or give --password-file"
            )
        try:
            _, url, _ = page.launch(**launch)
        except OSError as error:
            raise _not_served(command.host, str(command.port or "7860-7959"), error) from error
        try:
            yield url
        finally:
            page.close()


def require_gradio() -> None:
    """Refuse at once where the extra is not installed.

    Raises:
        InputError: Saying how to install it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "the page needs gradio, which is not installed: pip install 'refine-by-align[app]' "
            "(in a checkout: pip install -c constraints.txt -e '.[app]')"
        )


def read_password(path: str | None) -> tuple[str, str] | None:
    """Return (user, password) from a file or the environment; never from the command line.

    Args:
        path: File whose first line is ``USER:PASSWORD``; None = ``RBA_APP_PASSWORD``, if set.

    Raises:
        InputError: If there is no such file, or user or password is empty.
    """
    if path is None:
        source, text = PASSWORD_VARIABLE, os.environ.get(PASSWORD_VARIABLE)
        if text is None:
            return None
    else:
        source = f"--password-file {path}"
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source} cannot be read: {error}") from error
    user, _, password = text.splitlines()[0].partition(":") if text.strip() else ("", "", "")
    if not user or not password:
        raise InputError(f"{source} does not hold USER:PASSWORD in its first line")
    return user, password


def password_check(user: str, password: str) -> Callable[[str, str], bool]:
    """Return a check that takes as long for a wrong password as for the right one."""

    def check(given_user: str, given_password: str) -> bool:
        same_user = secrets.compare_digest(given_user.encode(), user.encode())
        same_password = secrets.compare_digest(given_password.encode(), password.encode())
        return same_user and same_password

    return check


def _build(
    command: AppCommand, folder: Path, password: tuple[str, str] | None
) -> tuple[Any, dict[str, Any]]:
    """Open the model, build the page, and return it with the arguments of its launch."""
    from rba.app.examples import load_examples
    from rba.app.page import build_page
    from rba.app.refining import Options, Refiner
    from rba.app.theme import CSS, calm_theme
    from rba.app.uploads import Limits
    from rba.inference.command import choose_device, make_folder
    from rba.inference.pipeline import RefineByAlignPipeline

    limits = Limits(
        file_megabytes=command.max_file_mb,
        megapixels=command.max_megapixels,
        queue=command.queue_size,
    )
    options = Options(steps=command.steps, guidance_scale=command.guidance_scale)
    device = choose_device(command.device)
    annotate = None if command.annotate is None else Path(command.annotate).resolve()
    if annotate is not None:
        make_folder(annotate, "--annotate")
    refiner = Refiner(RefineByAlignPipeline.open(command.model).to(device), _name(command.model))
    refiner.settings(options)
    page = build_page(
        refiner,
        folder,
        options=options,
        limits=limits,
        examples=load_examples(),
        annotate=annotate,
    )
    launch = {
        "server_name": command.host,
        "server_port": command.port,
        "share": False,
        "auth": None if password is None else password_check(*password),
        "max_file_size": f"{limits.file_megabytes}mb",
        "prevent_thread_lock": True,
        "show_error": True,
        "quiet": True,
        "inbrowser": False,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "theme": calm_theme(),
        "css": CSS,
    }
    return page, launch


@contextlib.contextmanager
def _environment() -> Generator[Path]:
    """Give gradio a folder of its own and keep it from the network; both end with the block."""
    folder = Path(tempfile.mkdtemp(prefix="rba-app-"))
    changed = {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield folder
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


def _check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be listened on before the model is opened."""
    if not 1 <= port <= 65535:
        raise InputError(f"--port {port} does not exist; give 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _not_served(host, str(port), error) from error


def _not_served(host: str, port: str, error: OSError) -> InputError:
    reason = error.strerror or str(error).splitlines()[0]
    return InputError(
        f"the page cannot be served at {host}:{port}: {reason}; give another --host or --port"
    )


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else model
