"""`captiond init`: four folders and a commented settings file in one folder, and what to type next.

Nothing that exists is changed.  The settings file is the one that lists every key, with what was chosen put
in; the wheel carries it, and the files for systemd, in `files`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from captiond.errors import CannotStart, ExitCode, Surroundings, as_surroundings

if TYPE_CHECKING:
    from captiond.settings import Settings

FILES = Path(__file__).parent.parent / "files"
FOLDERS = ("inbox", "done", "failed", "state")
SETTINGS = "captiond.yaml"
PAGE = "127.0.0.1:8000"
PHI, DEMO = "phi", "demo"
SERVICE_PROGRAM = "/opt/captiond/bin/captiond"  # as the unit has it
ASKING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    folder: Path
    model: str  # phi, demo, or the address of a server
    name: str | None = None  # of the server's model
    page: bool = False


def planned(folder: Path, model: str | None, page: bool | None, *, asks: bool) -> Plan:
    """The plan by the command line; the rest is asked if `asks`, or else the default.

    Raises: CannotStart, if the model is none; Surroundings, if the server does not answer.
    """
    if model is None:
        question = "Model: phi (Phi-3.5-vision), demo (drawn shapes), or a server's address"
        model = click.prompt(question, default=PHI) if asks else PHI
    if page is None:
        page = asks and click.confirm(f"Open a page at http://{PAGE}?", default=True)
    address = server_address(model)
    if address is None:
        return Plan(folder, model, page=page)
    names = served_models(address, os.environ.get("CAPTIOND_MODEL__API_KEY"))
    name = names[0]
    if asks and len(names) > 1:
        name = click.prompt("Its model", type=click.Choice(names), default=name)
    return Plan(folder, model, name, page)


def server_address(model: str) -> str | None:
    """The address of a chat-completions server that `--model` names; None for phi and demo."""
    if model in (PHI, DEMO):
        return None
    address = model if "://" in model else f"http://{model}"
    scheme, _, rest = address.partition("://")
    host, _, path = rest.rstrip("/").partition("/")
    if scheme not in ("http", "https") or not re.fullmatch(r"[^\s/@?#]*[.:][^\s/@?#]*|localhost", host):
        raise CannotStart(
            f"--model is {model!r}, and must be phi, demo or the address of a server",
            exit_code=ExitCode.USAGE,
            advice="E.g. --model http://127.0.0.1:11434/v1 for Ollama, or :8000/v1 for vLLM.",
        )
    return f"{scheme}://{host}/{path or 'v1'}"


def served_models(address: str, key: str | None) -> list[str]:
    """The server's names for its models.  Raises: Surroundings, if it does not list them."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{address}/models", headers=headers, timeout=ASKING_SECONDS)
        answer.raise_for_status()
        listed = answer.json()["data"]
        names = [one["id"] for one in listed if isinstance(one["id"], str)]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise Surroundings(
            f"{address}/models does not say which models are served: {str(error).partition(chr(10))[0]}",
            advice="Start the server first; nothing was made.  For a key, set CAPTIOND_MODEL__API_KEY.",
        ) from error
    if not names:
        raise Surroundings(f"{address} serves no model", advice="Load one there first; nothing was made.")
    return names


def make(plan: Plan, environ: Mapping[str, str]) -> Settings:
    """Make the folders and the settings file, and read it as the daemon would.

    Raises: CannotStart, if there is a settings file already, or the settings are refused; Surroundings, if
    the disk refuses.
    """
    from captiond import settings

    file = plan.folder / SETTINGS
    try:
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
        for name in FOLDERS:
            (plan.folder / name).mkdir(parents=True, exist_ok=True)
        _write(file, settings_text((FILES / SETTINGS).read_text(encoding="utf-8"), plan))
    except FileExistsError as error:
        what = "is there already" if error.filename == str(file) else "is in the way: it is no folder"
        raise CannotStart(
            f"{error.filename} {what}; nothing was changed",
            exit_code=ExitCode.USAGE,
            advice="Edit it, or name another folder: captiond init FOLDER",
        ) from error
    except OSError as error:
        raise as_surroundings(error, f"making {plan.folder}") from error
    try:
        return settings.load(file, environ, plan.folder)
    except CannotStart:
        file.unlink()
        raise


def settings_text(template: str, plan: Plan) -> str:
    """The settings file for a plan: pure."""
    values = {("folders", name): name for name in FOLDERS}
    if plan.name is not None:
        values["model", "backend"] = "openai"
        values["model", "base_url"] = _quoted(server_address(plan.model) or "")
        values["model", "id"] = _quoted(plan.name)
    elif plan.model == DEMO:
        values["model", "id"] = DEMO
    if plan.page:
        values["http", "listen"] = PAGE
    for (section, key), value in values.items():
        template = _with_value(template, section, key, value)
    return template


def next_steps(plan: Plan, cwd: Path) -> Iterator[str]:
    """What to type now."""
    option = "" if plan.folder == cwd else f" -c {shlex.quote(str(plan.folder / SETTINGS))}"
    inbox = shlex.quote(str(plan.folder / "inbox"))
    yield "What next:"
    yield f"  captiond run{option}"
    if plan.model == PHI:
        yield "      (its first start downloads 8.3 GB)"
    yield f"  cp photo.jpg {inbox}/        and a moment later look into {plan.folder / 'done'}"
    yield f"  captiond status --watch{option}"
    if plan.page:
        yield f"  and in a browser: http://{PAGE}"
    if plan.model == DEMO:
        yield "The demo model knows drawn shapes only: for photographs set model.id in the settings."
    yield f"Every setting stands in {plan.folder / SETTINGS} with its default and a sentence."


def program() -> Path:
    """This very program, as a unit can start it."""
    started = Path(sys.argv[0]).absolute()
    return started if started.name == "captiond" else Path(sys.executable).with_name("captiond")


def service_lines(program: Path) -> Iterator[str]:
    """What to type for a service of systemd, with the files that came with this program."""
    install = "sudo install -D -m 644"
    files = {name: shlex.quote(str(FILES / name)) for name in ("captiond.yaml", "captiond.service")}
    unit = "/etc/systemd/system/captiond.service"
    yield "# Settings that are there already stay as they are."
    yield f"test -e /etc/captiond/{SETTINGS} || {install} {files[SETTINGS]} /etc/captiond/{SETTINGS}"
    for kind in ("sysusers", "tmpfiles"):
        yield f"{install} {shlex.quote(str(FILES / f'captiond.{kind}'))} /etc/{kind}.d/captiond.conf"
    yield f"{install} {files['captiond.service']} {unit}"
    if str(program) != SERVICE_PROGRAM:
        swap = f"s|{SERVICE_PROGRAM}|{program}|"
        yield f"sudo sed -i {shlex.quote(swap)} {unit}"
    if program.is_relative_to("/home") or program.is_relative_to("/root"):
        yield "# The service does not see anybody's home, where this program lies: install it into"
        yield "# /opt/captiond, or say `ProtectHome=read-only` by: sudo systemctl edit captiond"
    yield "sudo systemd-sysusers && sudo systemd-tmpfiles --create captiond.conf"
    yield "# Whoever drops pictures joins the group and logs in anew:"
    yield 'sudo usermod -aG captiond "$USER"'
    yield "sudo systemctl daemon-reload"
    yield "sudo systemctl enable --now --no-block captiond && journalctl -fu captiond"


def _with_value(text: str, section: str, key: str, value: str) -> str:
    """`text` with another value for one key; the comments stay."""
    lines, inside = text.splitlines(keepends=True), False
    for number, line in enumerate(lines):
        if line[:1] not in (" ", "#", "\n"):
            inside = line.startswith(f"{section}:")
        elif inside and line.startswith(f"  {key}:"):
            lines[number] = f"  {key}: {value}\n"
            return "".join(lines)
    raise KeyError(f"{section}.{key}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON is YAML


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
