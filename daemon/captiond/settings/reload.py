"""Which settings a running daemon takes over when it reads them again, and which have to wait for a restart.

Pure: two Settings in, one Settings and two lists of keys out.
"""

from __future__ import annotations

from dataclasses import dataclass

from captiond.settings.schema import KEYS, Settings

# Sections that are read again for each picture or line.  The others built something at the start: a model,
# a lock.
_SECTIONS = ("caption", "fields", "checks", "output", "schedule", "limits", "log")
TAKEN_OVER = frozenset(
    {(section, name) for section in _SECTIONS for name in KEYS[section]}
    | {("watch", "ignore"), ("watch", "first")}
)


@dataclass(frozen=True, slots=True)
class Change:
    settings: Settings  # the former ones with what could be taken over
    taken_over: tuple[str, ...]  # dotted keys
    need_restart: tuple[str, ...]


def change(former: Settings, latter: Settings) -> Change:
    """`former` with all of `latter` that a running daemon can take over."""
    sections: dict[str, dict[str, object]] = {}
    taken_over, need_restart = [], []
    for section, names in KEYS.items():
        for name in names:
            old, new = (getattr(getattr(settings, section), name) for settings in (former, latter))
            if old == new:
                continue
            if (section, name) in TAKEN_OVER:
                taken_over.append(f"{section}.{name}")
                sections.setdefault(section, {})[name] = new
            else:
                need_restart.append(f"{section}.{name}")
    changed: dict[str, object] = {
        section: getattr(former, section).model_copy(update=values) for section, values in sections.items()
    }
    if former.libraries != latter.libraries:
        need_restart.append("libraries")
    if former.profiles != latter.profiles:
        taken_over.append("profiles")
    stay = {key: former.origins[key] for key in need_restart if key in former.origins}
    moved = {key: where for key, where in latter.origins.items() if key not in need_restart}
    settings = former.model_copy(update={**changed, "profiles": latter.profiles, "origins": moved | stay})
    return Change(settings, tuple(taken_over), tuple(need_restart))
