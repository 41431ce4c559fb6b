"""The extras of the package, which serve more formats if they are installed, and why one cannot be used.

Looked at once, since what is installed does not change while a process lives.  Nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

# Older versions write beyond a buffer if a file is damaged: five reports, fixed by this version.
LEAST_LIBRAW = (0, 22, 1)


@cache
def why_not(extra: str) -> str | None:
    """Why the extra `raw`, `jxl` or `tiff` is of no use here; None if it is installed and may be used."""
    if find_spec(_MODULES[extra]) is None:
        return f"{_MODULES[extra]} is not installed"
    return _LOOKED_AT[extra]() if extra in _LOOKED_AT else None


def advice(extra: str) -> str:
    """What to type."""
    return f"pip install 'captiond[{extra}]'"


def _libraw() -> str | None:
    try:
        version = tuple(import_module("rawpy").libraw_version)
    except (ImportError, AttributeError, TypeError) as error:
        return f"rawpy cannot be loaded: {error}"
    if version < LEAST_LIBRAW:
        found, least = (".".join(map(str, one)) for one in (version, LEAST_LIBRAW))
        return f"rawpy brings LibRaw {found}, and older ones than {least} have faults that a file can use"
    return None


_MODULES = {"raw": "rawpy", "jxl": "pylibjxl", "tiff": "tifffile"}
_LOOKED_AT: dict[str, Callable[[], str | None]] = {"raw": _libraw}
