"""Who may know whom: the rooms stay rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import captiond

PACKAGE = Path(captiond.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def _name(module: Path) -> str:
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _importers_of(*packages: str) -> set[str]:
    return {
        _name(module)
        for module in MODULES
        for name in _imports(module)
        if any(name == package or name.startswith(package + ".") for package in packages)
    }


def _room(module: Path) -> str:
    """`inbox` for captiond/inbox/scan.py, `pictures` for captiond/pictures.py."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def test_only_the_models_rooms_import_torch() -> None:
    """Whatever does not run the model starts without torch and transformers."""
    rooms = {name.split(".")[1] for name in _importers_of("torch", "transformers")}
    assert rooms <= {"captioners", "phi3v", "check"}
    assert "captiond.captioners" not in _importers_of("torch", "transformers")
    assert "captiond.captioners.remote" not in _importers_of("torch", "transformers")


def test_the_model_knows_nothing_of_the_daemon() -> None:
    """phi3v runs on a bare machine: it imports nothing of ours, and only what such a machine has."""
    for module in (PACKAGE / "phi3v").glob("*.py"):
        ours = {name for name in _imports(module) if name.startswith("captiond.")}
        assert all(name.startswith("captiond.phi3v") for name in ours), module.name


def test_records_and_verdicts_import_nothing_of_ours() -> None:
    """What travels can be imported everywhere, since it imports nothing."""
    for name in ("records.py", "errors.py"):
        assert not [imported for imported in _imports(PACKAGE / name) if imported.startswith("captiond")]


def test_the_stages_do_not_know_each_other() -> None:
    """Inbox, pictures, captioners, metadata and delivery meet in the pipeline alone."""
    stages = {"inbox", "pictures", "captioners", "metadata", "delivery"}
    for module in MODULES:
        room = _room(module)
        if room in stages:
            others = {name.split(".")[1] for name in _imports(module) if name.startswith("captiond.")}
            assert not others & (stages - {room}), f"{module.name} imports {others & stages - {room}}"


def test_only_delivery_renames() -> None:
    """Renaming and linking users' files happens in one room."""
    acts = {"rename", "replace", "link", "renames", "move"}
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            is_act = (
                isinstance(node, ast.Attribute)
                and node.attr in acts
                and isinstance(node.value, ast.Name)
                and node.value.id in {"os", "shutil"}
            )
            assert not is_act or _room(module) in {"delivery", "attempts"}, f"{module.name}:{node.lineno}"


def test_only_the_command_line_prints_or_exits() -> None:
    """Nothing but cli.py speaks on standard output or ends the process (a second signal aside)."""
    for module in MODULES:
        calls = [
            node.func
            for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        ]
        prints = [call for call in calls if isinstance(call, ast.Name) and call.id in {"print", "exit"}]
        exits = [call for call in calls if isinstance(call, ast.Attribute) and call.attr in {"exit", "_exit"}]
        assert not prints or module.name == "cli.py", module.name
        assert not exits or module.name in {"cli.py", "stopping.py"}, module.name


def test_only_the_door_knows_http_servers() -> None:
    """The daemon runs without the extra `http`, and the door knows no room that touches a folder."""
    servers = _importers_of("fastapi", "starlette", "uvicorn", "prometheus_client")
    assert servers and all(name.startswith("captiond.door") for name in servers)
    known = {name for m in (PACKAGE / "door").glob("*.py") for name in _imports(m)}
    rooms = {name.split(".")[1] for name in known if name.startswith("captiond.")}
    assert rooms <= {"__version__", "answering", "door", "errors", "measures", "records"}


def test_one_broad_except() -> None:
    """Exactly one place swallows everything, and it is where one image's failure must not stop the next."""
    broad = [
        _name(module)
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
        )
        and not isinstance(node.body[-1], ast.Raise)  # cleaning up and passing on is not swallowing
    ]
    assert broad == ["captiond.pipeline"]
