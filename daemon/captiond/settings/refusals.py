"""The base of every refusal of settings, and how YAML's own complaints read."""

from __future__ import annotations

import yaml

from captiond.errors import CannotStart, ExitCode


def refusal(message: str) -> CannotStart:
    return CannotStart(message, exit_code=ExitCode.WRONG_SETTINGS)


def yaml_problem(error: yaml.YAMLError, shown: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = f", line {mark.line + 1}" if mark is not None else ""
    problem = getattr(error, "problem", None) or "it is malformed"
    return f"this is not YAML: {problem} ({shown}{line})"
