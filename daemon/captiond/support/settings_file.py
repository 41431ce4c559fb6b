"""Which settings file counts, and the little that can be read from it without checking it.

Checking settings takes a second of imports, which `captiond health` cannot afford twice a minute.  A running
daemon has checked its own: a command with the very same file and environment, by `fingerprint`, may ask it at
once, at the place that `whereabouts` gives.  Without that, or if anything is unusual, the command reads the
settings in full and reports what is wrong.  So `whereabouts` may be as simple as it is: what it gets wrong
leads to no daemon, or to one with another fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

PREFIX = "CAPTIOND_"
_SECRET = ("__API_KEY", "__TOKEN")  # whether they are set counts, and not what they are
_PLAIN = re.compile(r"""\s+(\w+):\s+([^\s"'&*!|>{}\[\]%@`#,][^"'#]*?)\s*(?:\s#.*)?""")


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
    """The inbox and the state folder, if the file or the environment names both plainly; else None."""
    try:
        said = _folders(file.read_text(encoding="utf-8-sig"))
        found = []
        for name in ("inbox", "state"):
            variable = f"{PREFIX}FOLDERS__{name.upper()}"
            text, base = (environ[variable], cwd) if variable in environ else (said.get(name), file.parent)
            if not isinstance(text, str) or not text.strip() or "\0" in text:
                return None
            found.append(base / Path(text).expanduser())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: `~` of a user without a home
        return None
    return found[0], found[1]


def _folders(text: str) -> dict[str, object]:
    """The keys below `folders:`, in YAML with one plain value a line, or in JSON."""
    if text.lstrip().startswith("{"):
        whole = json.loads(text)
        folders = whole.get("folders") if isinstance(whole, dict) else None
        return folders if isinstance(folders, dict) else {}
    lines = iter(text.splitlines())
    said: dict[str, object] = {}
    for line in lines:
        if line.split("#")[0].rstrip() == "folders:":
            break
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            plain = _PLAIN.fullmatch(line)
            if plain is None:
                break
            said[plain[1]] = plain[2]
    return said


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:  # it may be there; reading it will report what is wrong
        return True
