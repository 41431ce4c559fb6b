"""Which of several patterns a path matches, by the rules of a .gitignore: case-sensitive, `**`, `!`, `/`.

Pure.  Paths are relative, with `/` between their parts; a folder's path ends with one.
"""

from __future__ import annotations

from collections.abc import Sequence

from pathspec import GitIgnoreSpec


class Patterns:
    """Raises: ValueError, if a pattern is empty, a comment, or cannot be understood."""

    def __init__(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            if not any(read.include is not None for read in GitIgnoreSpec.from_lines([pattern]).patterns):
                raise ValueError(f"the pattern {pattern!r} matches nothing")
        self._patterns = tuple(patterns)
        self._spec = GitIgnoreSpec.from_lines(self._patterns)
        self._expressions = [read.regex for read in self._spec.patterns if read.regex is not None]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, path: str) -> str | None:
        """The last pattern that the path matches; None if it matches none, or if that one is a `!`."""
        # Most paths match none, which is found out here at a tenth of the cost: a scan asks for each file.
        if not any(expression.match(path) for expression in self._expressions):
            return None
        result = self._spec.check_file(path)
        if not result.include or result.index is None:
            return None
        return self._patterns[result.index]
