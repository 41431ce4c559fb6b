"""Who may know whom: the rooms stay rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import captiond

PACKAGE = Path(captiond.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What travels, the verdicts and the names: these import each other and nothing else of ours.
VOCABULARY = {"records", "encoded", "scaling", "errors", "names", "status", "formats", "characters"}
STAGES = {"inbox", "pictures", "captioners", "metadata", "delivery"}

# Each room may import the vocabulary, itself, and what stands here.
MAY_KNOW = {
    "logs": set[str](),
    "support": set[str](),
    "phi3v": set[str](),
    "settings": {"support"},
    "sidecar": set[str](),
    "checking": set[str](),
    "exiftool": {"metadata"},
    "jpeg": set[str](),
    "pictures": {"support", "jpeg"},
    "metadata": set[str](),
    "inbox": {"support", "sidecar"},
    "delivery": {"support", "sidecar"},
    "libraries": {"inbox", "delivery", "support", "sidecar"},  # made of their parts
    "history": {"support"},
    "cache": {"support"},
    "webhook": {"support", "sidecar"},
    "table": {"sidecar"},
    "captioners": {"phi3v", "demo", "support", "jpeg"},
    "demo": {"pictures", "metadata", "settings", "service", "sidecar"},
    "redo": {"metadata", "delivery", "sidecar", "support"},
    "pipeline": {
        "checking",
        "inbox",
        "pictures",
        "captioners",
        "metadata",
        "delivery",
        "sidecar",
        "support",
        "redo",
    },
    "web": {"checking", "redo", "pipeline", "history", "delivery", "pictures", "sidecar", "support", "logs"},
}
# These join the rooms and may know every one of them.
JOINING = {"service", "commands", "cli", "__main__", "__init__"}


def _name(module: Path) -> str:
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def _imports(module: Path) -> Iterator[str]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(module: Path, node: ast.ImportFrom) -> str:
    """`from . import x` in a room names the room."""
    if not node.level:
        return node.module or ""
    package = module.relative_to(PACKAGE.parent).parts[: -node.level]
    return ".".join((*package, *((node.module,) if node.module else ())))


def _rooms_known(module: Path) -> set[str]:
    ours = {name.split(".")[1] for name in _imports(module) if name.startswith("captiond.")}
    return ours - {"__version__", _room(module)}


def _importers_of(*packages: str) -> set[str]:
    return {
        _name(module)
        for module in MODULES
        for name in _imports(module)
        if any(name == package or name.startswith(package + ".") for package in packages)
    }


def _room(module: Path) -> str:
    """`inbox` for captiond/inbox/scan.py, `records` for captiond/records.py."""
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def test_each_room_knows_only_those_below_it() -> None:
    """An import that runs upward, or into a neighbour, is named here."""
    wrong = {
        f"{_name(module)} imports {known}"
        for module in MODULES
        if _room(module) not in JOINING
        for known in _rooms_known(module) - VOCABULARY - MAY_KNOW.get(_room(module), set())
    }
    assert not wrong


def test_every_room_stands_in_the_table() -> None:
    """A new room says whom it may know before anybody lives in it."""
    assert {_room(module) for module in MODULES} <= MAY_KNOW.keys() | JOINING | VOCABULARY


def test_only_the_models_rooms_import_torch() -> None:
    """Whatever does not run the model starts without torch and transformers."""
    importers = _importers_of("torch", "transformers")
    rooms = {name.split(".")[1] for name in importers}
    assert rooms <= {"captioners", "phi3v", "commands"}
    assert {name for name in importers if name.startswith("captiond.commands")} <= {"captiond.commands.check"}
    assert not importers & {"captiond.captioners", "captiond.captioners.remote"}


def test_the_model_knows_nothing_of_the_daemon() -> None:
    """phi3v runs on a bare machine: it imports nothing of ours, and only what such a machine has."""
    for module in (PACKAGE / "phi3v").glob("*.py"):
        assert not _rooms_known(module), module.name


def test_the_vocabulary_imports_nothing_but_itself() -> None:
    """What travels can be imported everywhere, since it imports no room; the verdicts import nothing."""
    assert not _rooms_known(PACKAGE / "errors.py")
    for name in VOCABULARY:
        if (PACKAGE / f"{name}.py").exists():
            assert _rooms_known(PACKAGE / f"{name}.py") <= VOCABULARY, name


def test_the_stages_do_not_know_each_other() -> None:
    """Inbox, pictures, captioners, metadata and delivery meet in the pipeline alone."""
    for room in STAGES:
        assert not MAY_KNOW[room] & STAGES


def test_nothing_but_the_service_knows_the_web() -> None:
    """The page, the API and the metrics stand behind one wall."""
    rooms = {name.split(".")[1] for name in _importers_of("captiond.web")}
    assert rooms == {"service", "web"}


def test_only_delivery_renames() -> None:
    """Renaming and linking users' files happens in one room."""
    acts = {"rename", "replace", "link", "renames", "move", "hardlink_to", "symlink_to"}
    for module in MODULES:
        if _room(module) == "delivery":
            continue
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert not (node.func.attr in acts and _may_touch_files(node)), f"{module}:{node.lineno}"


def _may_touch_files(call: ast.Call) -> bool:
    """Every such call of `os` and `shutil`, and those of a Path: `str.replace` has two arguments."""
    assert isinstance(call.func, ast.Attribute)
    of = call.func.value
    if isinstance(of, ast.Name) and of.id in {"os", "shutil"}:
        return True
    if call.func.attr == "replace":
        return len(call.args) == 1 and not call.keywords
    return call.func.attr in {"rename", "hardlink_to", "symlink_to"}


def test_only_the_command_line_prints_or_exits() -> None:
    """Nothing but cli/ speaks on standard output or ends the process (a second signal aside)."""
    for module in MODULES:
        calls = [node.func for node in ast.walk(_tree(module)) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call, ast.Name) and call.id in {"print", "exit"}]
        exits = [call for call in calls if isinstance(call, ast.Attribute) and call.attr in {"exit", "_exit"}]
        assert not prints or _room(module) == "cli", module.name
        assert not exits or _name(module) in {"captiond.cli", "captiond.service.signals"}, module.name


def test_only_the_web_knows_http_servers() -> None:
    """A daemon without a page loads no server."""
    servers = _importers_of("fastapi", "starlette", "uvicorn", "prometheus_client")
    assert servers and all(name.startswith("captiond.web") for name in servers)


def test_one_broad_except() -> None:
    """Exactly one place swallows everything, and it is where one image's failure must not stop the next."""
    broad = [
        _name(module)
        for module in MODULES
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
        )
        and not isinstance(node.body[-1], ast.Raise)  # cleaning up and passing on is not swallowing
    ]
    assert broad == ["captiond.pipeline"]


def test_rooms_stay_small_enough_to_be_read() -> None:
    """No file has more than 400 lines, and no function more than 60."""
    for module in MODULES:
        lines = len(module.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{_name(module)} has {lines} lines"
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 60, f"{_name(module)}.{node.name} has {length} lines"
