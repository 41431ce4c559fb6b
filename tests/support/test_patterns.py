"""Promises about patterns: they mean what they mean in a .gitignore, and git itself agrees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.support.patterns import Patterns

CASES = [
    (["*.bak"], "trip/photo.bak"),
    (["trip/"], "trip/photo.jpg"),
    (["/trip/*.jpg"], "other/trip/photo.jpg"),
    (["trip/**/raw/"], "trip/2024/june/raw/photo.jpg"),
    (["*.jpg", "!keep.jpg"], "trip/keep.jpg"),
    (["*.jpg", "!keep.jpg"], "trip/other.jpg"),
    (["Trip"], "trip/photo.jpg"),
    (["photo[0-9].jpg"], "trip/photo7.jpg"),
    (["a/b"], "x/a/b"),
    (["**/b.jpg"], "b.jpg"),
    (["x?z"], "x/z"),
]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize(("patterns", "path"), CASES)
def test_git_agrees(patterns: list[str], path: str, tmp_path: Path) -> None:
    """Whoever knows a .gitignore knows these patterns."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("".join(f"{pattern}\n" for pattern in patterns))
    asked = subprocess.run(["git", "-C", tmp_path, "check-ignore", "-q", "--no-index", path], check=False)
    assert (Patterns(patterns).match(path) is not None) == (asked.returncode == 0)


def test_the_pattern_that_decided_is_named() -> None:
    """`explain` can say which of several it was: the last that the path meets."""
    assert Patterns(["*.jpg", "trip/*"]).match("trip/photo.jpg") == "trip/*"


@pytest.mark.parametrize("pattern", ["", "# a comment", " ", "/"])
def test_a_pattern_that_says_nothing_is_refused(pattern: str) -> None:
    """A slip in the settings is told, and not obeyed as if it were nothing."""
    with pytest.raises(ValueError, match="matches nothing"):
        Patterns([pattern])


@given(st.text(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
def test_no_path_and_no_pattern_is_too_odd(pattern: str, path: bytes) -> None:
    """Whatever a file is called, it meets a pattern or it does not."""
    try:
        patterns = Patterns([pattern])
    except ValueError:
        return
    assert patterns.match(path.decode("utf-8", "surrogateescape")) in (None, pattern)
