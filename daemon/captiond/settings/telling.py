"""The settings in a form to show: each value, and where it was set.  Secrets are never among them.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from captiond.settings.schema import KEYS, NOT_SHOWN, SECRET, Profile, Settings
from captiond.settings.sources import IN_PROFILES

HIDDEN = "set, and not shown"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Told:
    """One key, fit to be shown."""

    key: str  # dotted
    value: Any  # as JSON has it
    where: str  # the file and line, `environment`, `command line`, or `default`
    profile: str | None = None  # None: for every picture, unless a profile says otherwise


def told(settings: Settings) -> Iterator[Told]:
    """Every key in the order of the schema; then the keys that each profile changes."""
    for section, names in KEYS.items():
        for name in names:
            key = f"{section}.{name}"
            value = _fit(section, name, getattr(getattr(settings, section), name))
            yield Told(key, value, settings.origins.get(key, DEFAULT))
    for profile in settings.profiles:
        yield from _otherwise(profile, settings)


def _otherwise(profile: Profile, settings: Settings) -> Iterator[Told]:
    where = str(settings.source or "")
    if profile.skip:
        yield Told("skip", True, where, profile.name)
    for section in IN_PROFILES:
        common, own = getattr(settings, section), getattr(profile, section)
        for name in KEYS[section]:
            if getattr(common, name) != getattr(own, name):
                yield Told(f"{section}.{name}", _fit(section, name, getattr(own, name)), where, profile.name)


def _fit(section: str, name: str, value: object) -> Any:
    if (section, name) in NOT_SHOWN and value is not None:
        return HIDDEN if (section, name) in SECRET else _addresses(value)
    if isinstance(value, tuple):
        return [_fit(section, name, one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _addresses(value: object) -> Any:
    """Servers' addresses without what follows the host, which may hold a token."""
    if isinstance(value, tuple):
        return [_addresses(one) for one in value]
    address = urlsplit(str(value))
    port = f":{address.port}" if address.port is not None else ""
    bare = f"{address.scheme}://{address.hostname}{port}"
    return bare if bare == value else f"{bare}/... ({HIDDEN})"
