"""What the operator wants: YAML, environment and command line become one frozen `Settings`, or a refusal.

It reads the settings file and touches nothing else on disk; the key file is opened only when somebody
asks for the key.  It never guesses: an unknown key, a key given twice or a value out of range is a
CannotStart that names the file, the line, what is allowed and the nearest known key, all at once.

The command line wins over the environment, which wins over the file.  A relative path (or `./folder` as
model id) in the file is relative to the file's folder, elsewhere to the current directory.  A key that
takes text takes it as written: `device: cpu`, `id: 007` and `prompt: 2020` need no quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from captiond.settings.explain import explain
from captiond.settings.refusals import refusal
from captiond.settings.schema import DEFAULT_REVISION, KEYS, Settings, split_address
from captiond.settings.sources import Given, from_environment, from_file, make_paths_absolute, parse
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
    if file is not None:
        given |= from_file(file, "captiond.yaml" if file == cwd / "captiond.yaml" else str(file), problems)
    given |= from_environment(environ, cwd, problems)
    for key, text in (overrides or {}).items():
        section, _, name = key.partition(".")
        given[section, name] = Given(key, "command line", cwd, parse(text, KEYS[section][name]))

    values: dict[str, dict[str, object]] = {}
    for (section, name), item in given.items():
        values.setdefault(section, {})[name] = item.value
    try:
        make_paths_absolute(values, given)
        settings = Settings.model_validate({**values, "source": file})
    except ValidationError as error:
        problems += explain(error, given, file)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise refusal("\n".join(problems))
    return settings
