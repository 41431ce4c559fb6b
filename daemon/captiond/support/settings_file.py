"""Which settings file counts, and the little that can be told of it without checking it.

Checking settings takes a second of imports, which `captiond health` cannot afford twice a minute.  A running
daemon has checked its own: whoever has the very same file and environment, by `fingerprint`, may ask it
at once where `whereabouts` says that it is.  Whoever has not, or finds anything unusual, reads the settings
in full and is told there what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PREFIX = "CAPTIOND_"
_SECRET = ("__API_KEY", "__TOKEN")  # whether they are set counts, and not what they are

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def choose(named: Path | None, environ: Mapping[str, str], cwd: Path, system_file: Path) -> Path | None:
    """The file from `-c`, else $CAPTIOND_CONFIG, ./captiond.yaml, the system's; None if there is none."""
    given = named or environ.get(PREFIX + "CONFIG")
    if given:
        return cwd / given
    return next((file for file in (cwd / "captiond.yaml", system_file) if _is_there(file)), None)


def fingerprint(file: Path | None, environ: Mapping[str, str]) -> str | None:
    """The same for the same settings; None for a file that cannot be read."""
    whole = hashlib.sha256()
    try:
        whole.update(file.read_bytes() if file is not None else b"")
    except OSError:
        return None
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name != PREFIX + "CONFIG"):
        value = "" if name.endswith(_SECRET) else environ[name]
        whole.update(f"\0{name}={value}".encode(errors="surrogateescape"))
    return whole.hexdigest()


def whereabouts(file: Path, environ: Mapping[str, str], cwd: Path) -> tuple[Path, Path] | None:
    """The inbox and the state folder, where both are plainly said."""
    try:
        said = yaml.load(file.read_bytes(), Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    folders = said.get("folders") if isinstance(said, dict) else None
    found = []
    for name in ("inbox", "state"):
        text, base = environ.get(f"{PREFIX}FOLDERS__{name.upper()}"), cwd
        if text is None and isinstance(folders, dict):
            text, base = folders.get(name), file.parent
        if not isinstance(text, str) or not text.strip() or "\0" in text:
            return None
        found.append(base / text)
    return (found[0], found[1]) if not any("~" in str(path) for path in found) else None


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:  # it may be there, and reading it will say what is wrong
        return True
