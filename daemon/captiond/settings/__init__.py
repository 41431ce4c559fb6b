"""What the operator wants: YAML, environment and command line become one frozen `Settings`, or a refusal.

It reads the settings file and touches nothing else on disk; the key file is opened only when a caller asks
for the key.  It never guesses: unknown keys, keys given twice and values out of range are one CannotStart
that names for each the file, the line, what is allowed and the nearest known key.

The command line wins over the environment, which wins over the file.  A relative path (or `./folder` as
model id) in the file is relative to the file's folder, elsewhere to the current directory.  A key that
takes text takes it as written: `device: cpu`, `id: 007` and `prompt: 2020` need no quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from captiond.settings.explain import explain, in_our_words
from captiond.settings.libraries import checked as checked_libraries
from captiond.settings.refusals import refusal
from captiond.settings.schema import DEFAULT_REVISION, KEYS, Profile, Settings
from captiond.settings.sources import (
    IN_PROFILES,
    Given,
    GivenLibrary,
    GivenProfile,
    from_environment,
    from_file,
    make_paths_absolute,
    parse,
)
from captiond.settings.values import split_address
from captiond.support.settings_file import choose

__all__ = ["DEFAULT_REVISION", "Settings", "load", "split_address"]

SYSTEM_FILE = Path("/etc/captiond/captiond.yaml")


def load(
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path,
    *,
    overrides: Mapping[str, str] | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Settings:
    """The settings from `path`, else $CAPTIOND_CONFIG, ./captiond.yaml, the system's file, or the defaults.

    overrides: what the command line says, by dotted key: {"model.id": "demo"}.
    """
    file = choose(path, environ, cwd, system_file)
    problems: list[str] = []
    given: dict[tuple[str, str], Given] = {}
    profiles: list[GivenProfile] = []
    libraries: list[GivenLibrary] = []
    if file is not None:
        shown = "captiond.yaml" if file == cwd / "captiond.yaml" else str(file)
        given, profiles, libraries = from_file(file, shown, problems)
    given |= from_environment(environ, cwd, problems)
    for key, text in (overrides or {}).items():
        section, _, name = key.partition(".")
        given[section, name] = Given(key, "command line", cwd, parse(text, KEYS[section][name]))

    settings = _checked(given, file, problems)
    made = [_profile(profile, given, file, problems) for profile in profiles]
    kept = checked_libraries(libraries, settings.folders, problems) if settings is not None else ()
    if problems or settings is None:
        raise refusal("\n".join(dict.fromkeys(problems)))
    origins = {f"{section}.{name}": item.where for (section, name), item in given.items()}
    found = tuple(one for one in made if one is not None)
    return settings.model_copy(update={"profiles": found, "libraries": kept, "origins": origins})


def _checked(
    given: Mapping[tuple[str, str], Given], file: Path | None, problems: list[str]
) -> Settings | None:
    values: dict[str, dict[str, object]] = {}
    for (section, name), item in given.items():
        values.setdefault(section, {})[name] = item.value
    try:
        make_paths_absolute(values, given)
        return Settings.model_validate({**values, "source": file})
    except ValidationError as error:
        problems += explain(error, given, file)
    except ValueError as error:
        problems.append(str(error))
    return None


def _profile(
    profile: GivenProfile, given: Mapping[tuple[str, str], Given], file: Path | None, problems: list[str]
) -> Profile | None:
    """The profile, with whole sections as they are for its pictures."""
    settings = _checked({**given, **profile.given}, file, problems)
    match = (profile.match,) if isinstance(profile.match, str) else profile.match
    if not isinstance(match, (tuple, list)):
        problems.append(f"a profile must say `match: ...`, a pattern or a list of them ({profile.where})")
        return None
    sections = {} if settings is None else {name: getattr(settings, name) for name in IN_PROFILES}
    try:
        return Profile.model_validate({**sections, "match": match, "skip": profile.skip})
    except ValidationError as error:
        # Its sections have been checked already; `match` and `skip` are left.
        problems += [
            f"a profile's `{one['loc'][0]}` {in_our_words(one)} ({profile.where})" for one in error.errors()
        ]
        return None
