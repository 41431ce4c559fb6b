"""The values from the settings file and the environment, each with the place where it was set.

Mistakes are gathered in `problems`, so that one message tells them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml

from captiond.settings.library import Library
from captiond.settings.refusals import refusal, yaml_problem
from captiond.settings.schema import KEYS, SECRET
from captiond.support.settings_file import PREFIX

# Kubernetes and Docker links announce a service called `captiond` to its neighbours, and to itself.
_SERVICE_LINK = re.compile(
    r"CAPTIOND_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


_PROFILES = "profiles"
_LIBRARIES = "libraries"
IN_PROFILES = ("caption", "fields", "checks", "output")  # the sections that a profile may hold


@dataclass(frozen=True, slots=True)
class Given:
    """A value that was set: the name it has there, the place, and the folder its path is relative to."""

    name: str
    where: str
    base: Path
    value: object


@dataclass(frozen=True, slots=True)
class GivenProfile:
    """What a settings file says of some pictures, not yet checked."""

    where: str
    match: object
    skip: object
    given: dict[tuple[str, str], Given]


@dataclass(frozen=True, slots=True)
class GivenLibrary:
    """What a settings file says of one library, not yet checked."""

    where: str
    base: Path
    values: Mapping[str, object]


def from_file(
    file: Path, shown: str, problems: list[str]
) -> tuple[dict[tuple[str, str], Given], list[GivenProfile], list[GivenLibrary]]:
    given: dict[tuple[str, str], Given] = {}
    profiles: list[GivenProfile] = []
    libraries: list[GivenLibrary] = []
    for section, node in _pairs(_read(file, shown), [*KEYS, _PROFILES, _LIBRARIES], "", shown, problems):
        if section == _PROFILES:
            profiles = _profiles(node, file, shown, problems)
        elif section == _LIBRARIES:
            libraries = _libraries(node, file, shown, problems)
        else:
            given |= _section(section, node, file, shown, problems)
    return given, profiles, libraries


def _section(
    section: str, section_node: yaml.Node, file: Path, shown: str, problems: list[str]
) -> dict[tuple[str, str], Given]:
    if isinstance(section_node, yaml.ScalarNode) and section_node.tag.endswith(":null"):
        return {}  # a section whose keys are all commented out
    if not isinstance(section_node, yaml.MappingNode):
        first, line = next(iter(KEYS[section])), section_node.start_mark.line + 1
        problems.append(f"`{section}` must hold keys such as `{first}: ...` ({shown}, line {line})")
        return {}
    given: dict[tuple[str, str], Given] = {}
    known = [name for name in KEYS[section] if (section, name) not in SECRET]
    for name, node in _pairs(section_node, known, section, shown, problems):
        where = f"{shown}, line {node.start_mark.line + 1}"
        try:
            value = _value(node, KEYS[section][name])
        except yaml.YAMLError as error:
            problems.append(yaml_problem(error, shown))
            continue
        given[section, name] = Given(f"{section}.{name}", where, file.parent, value)
    return given


def _profiles(node: yaml.Node, file: Path, shown: str, problems: list[str]) -> list[GivenProfile]:
    profiles = []
    for one in _items(node, "`profiles` must be a list, each with a `match: ...`", shown, problems):
        where = f"{shown}, line {one.start_mark.line + 1}"
        given: dict[tuple[str, str], Given] = {}
        plain: dict[str, object] = {"match": None, "skip": False}
        for name, inner in _pairs(one, [*plain, *IN_PROFILES], _PROFILES, shown, problems):
            if name in plain:
                plain[name] = _value(inner, bool if name == "skip" else str)
            else:
                given |= _section(name, inner, file, shown, problems)
        profiles.append(GivenProfile(where, plain["match"], plain["skip"], given))
    return profiles


def _libraries(node: yaml.Node, file: Path, shown: str, problems: list[str]) -> list[GivenLibrary]:
    libraries = []
    what = "`libraries` must be a list, each with a `name: ...` and a `path: ...`"
    for one in _items(node, what, shown, problems):
        where = f"{shown}, line {one.start_mark.line + 1}"
        values = {
            name: _value(inner, tuple if name == "write" else bool if name == "existing" else str)
            for name, inner in _pairs(one, list(Library.model_fields), _LIBRARIES, shown, problems)
        }
        libraries.append(GivenLibrary(where, file.parent, values))
    return libraries


def _items(node: yaml.Node, what: str, shown: str, problems: list[str]) -> list[yaml.Node]:
    """The items of a list; none if it is null, or if it is no list, which becomes a problem."""
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
        problems.append(f"{what} ({shown}, line {node.start_mark.line + 1})")
    return []


def _read(file: Path, shown: str) -> yaml.Node | None:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise refusal(f"the settings file {shown} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise refusal(f"the settings file is not UTF-8 ({shown}, line {line})") from None
    try:
        return yaml.compose(text, yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise refusal(f"the file holds a control character ({shown}, line {line})") from None
    except yaml.YAMLError as error:
        raise refusal(yaml_problem(error, shown)) from None


def _pairs(
    node: yaml.Node | None, known: list[str], section: str, shown: str, problems: list[str]
) -> Iterator[tuple[str, yaml.Node]]:
    """The known keys of a mapping, each once; anything else in it becomes a problem."""
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        problems.append(f"the settings must be `section:` and keys below it ({shown}, line 1)")
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        line = key.start_mark.line + 1
        full = f"{section}.{name}" if section else name
        if name not in known:
            hint = did_you_mean(name, known)
            problems.append(f"unknown key `{full}` ({shown}, line {line}){hint}")
        elif name in lines:
            problems.append(f"`{full}` stands twice ({shown}, lines {lines[name]} and {line})")
        else:
            lines[name] = line
            yield name, value


def from_environment(
    environ: Mapping[str, str], cwd: Path, problems: list[str]
) -> dict[tuple[str, str], Given]:
    known = {
        f"{PREFIX}{section}__{name}".upper(): (section, name)
        for section, keys in KEYS.items()
        for name in keys
    }
    given: dict[tuple[str, str], Given] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        if variable not in known:
            if not _SERVICE_LINK.fullmatch(variable):
                near = get_close_matches(variable, known, n=1)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                problems.append(f"unknown name `{variable}` (environment){hint}")
            continue
        section, name = known[variable]
        try:
            value = parse(text, KEYS[section][name])
        except yaml.YAMLError as error:
            problems.append(yaml_problem(error, variable))
            continue
        given[section, name] = Given(variable, "environment", cwd, value)
    return given


def did_you_mean(name: str, known: list[str]) -> str:
    """The nearest key beside the unknown one, else the section that has a key by this name."""
    near = get_close_matches(name, known, n=1)
    if not near:
        leaves = {
            leaf: f"{section}.{leaf}"
            for section, keys in KEYS.items()
            for leaf in keys
            if (section, leaf) not in SECRET
        }
        near = [leaves[leaf] for leaf in get_close_matches(name, leaves, n=1, cutoff=0.8)]
    return f"; did you mean `{near[0]}`?" if near else ""


def parse(text: str, annotation: Any) -> object:
    """A value from the environment or the command line."""
    if _is_text(annotation):
        return None if text in ("", "null") and type(None) in get_args(annotation) else text
    node = yaml.compose(text, yaml.SafeLoader)
    return None if node is None else _value(node, annotation)


def _value(node: yaml.Node, annotation: Any) -> object:
    is_plain = isinstance(node, yaml.ScalarNode) and node.tag in yaml.SafeLoader.yaml_constructors
    if is_plain and _is_text(annotation) and not node.tag.endswith(":null"):
        return str(node.value)
    return yaml.SafeLoader("").construct_document(node)


def _is_text(annotation: Any) -> bool:
    """Whether a key takes text and nothing else, so that YAML's other readings of it are mistakes."""
    if (
        annotation in (int, float, bool)
        or isinstance(annotation, bool)
        or getattr(annotation, "__origin__", None) is tuple
    ):
        return False
    return all(_is_text(inner) for inner in get_args(annotation) if not isinstance(inner, str))


def make_paths_absolute(values: dict[str, dict[str, object]], given: Mapping[tuple[str, str], Given]) -> None:
    """Make each path absolute, relative to the folder where it was set."""
    for (section, name), item in given.items():
        text = item.value
        if not isinstance(text, str) or not _is_place(section, name, text, values):
            continue
        try:
            if not text.strip() or "\0" in text:
                raise RuntimeError("must be a path")
            place = item.base / Path(text).expanduser()
        except RuntimeError as error:
            raise ValueError(f"`{item.name}` is {text!r}: {error} ({item.where})") from None
        values[section][name] = place if Path in _types(KEYS[section][name]) else str(place)


def _is_place(section: str, name: str, text: str, values: dict[str, dict[str, object]]) -> bool:
    if (section, name) == ("model", "id"):  # a server's names for its models may look like paths, too
        return values["model"].get("backend") != "openai" and text.startswith(("/", "./", "../", "~"))
    return Path in _types(KEYS[section][name])


def _types(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *get_args(annotation))
