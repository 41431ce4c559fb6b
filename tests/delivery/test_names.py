"""Promises about names: they fit, differ, repeat, and can be shown."""

from __future__ import annotations

import hashlib
import os
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.names import candidates, is_utf8, job_id, shown

SUFFIXES = st.sampled_from(["", ".error.json", ".caption.json"])
SHA256 = hashlib.sha256(b"a picture").hexdigest()

# Names as the kernel gives them: any bytes but NUL and slash, at most 255 of them.
NAMES = (
    st.one_of(
        st.binary(min_size=1, max_size=255),
        st.text(min_size=1, max_size=70).map(lambda text: text.encode("utf-8", "ignore")),
        st.text(min_size=60, max_size=120).map(lambda text: text.encode("utf-8", "ignore")[:250] + b".jpeg"),
    )
    .filter(lambda name: 0 < len(name) <= 255 and not set(name) & {0, 47} and name not in (b".", b".."))
    .map(os.fsdecode)
)


@given(NAMES, st.integers(64, 255))
def test_short_names_where_only_those_are_allowed(name: str, longest: int) -> None:
    """A file system that allows fewer bytes gets fewer."""
    for candidate in islice(candidates(name, SHA256, suffix=".caption.json", longest=longest), 5):
        assert 0 < length(candidate + ".caption.json") <= longest


def length(name: str) -> int:
    return len(os.fsencode(name))


@given(NAMES, SUFFIXES)
def test_every_candidate_fits_with_its_suffix(name: str, suffix: str) -> None:
    """No delivered name is too long for the kernel, nor is the record's beside it."""
    for candidate in islice(candidates(name, SHA256, suffix=suffix), 12):
        assert 0 < length(candidate + suffix) <= 255
        assert "/" not in candidate
        assert candidate not in (".", "..")


@given(NAMES, SUFFIXES)
def test_candidates_differ_and_repeat(name: str, suffix: str) -> None:
    """There is always another name to try, and the same crash replayed tries the same ones."""
    first = list(islice(candidates(name, SHA256, suffix=suffix), 20))
    assert len(set(first)) == 20
    assert first == list(islice(candidates(name, SHA256, suffix=suffix), 20))


@given(NAMES, SUFFIXES)
def test_a_name_that_fits_is_kept(name: str, suffix: str) -> None:
    """A picture keeps its name wherever it can."""
    best = next(candidates(name, SHA256, suffix=suffix))
    assert (best == name) == (length(name + suffix) <= 255)


@given(st.text(min_size=1, max_size=300).filter(lambda text: "/" not in text and "\0" not in text))
def test_no_character_is_cut_in_two(name: str) -> None:
    """A shortened name is still UTF-8 if it was."""
    if not is_utf8(os.fsdecode(name.encode("utf-8", "ignore"))) or name in (".", ".."):
        return
    name = os.fsdecode(name.encode("utf-8", "ignore"))
    assert all(is_utf8(one) for one in islice(candidates(name, SHA256, suffix=".caption.json"), 5))


def test_taken_names_are_told_apart_by_the_checksum_then_by_number() -> None:
    """photo.jpg, photo~1a2b3c4d.jpg, photo~1a2b3c4d-2.jpg: as the manual says."""
    tail = SHA256[:8]
    assert list(islice(candidates("photo.jpg", SHA256, suffix=".caption.json"), 4)) == [
        "photo.jpg",
        f"photo~{tail}.jpg",
        f"photo~{tail}-2.jpg",
        f"photo~{tail}-3.jpg",
    ]


@pytest.mark.parametrize("name", ["é" * 120 + ".jpg", "x" * 251 + ".jpg", "a." + "b" * 253])
def test_a_long_name_is_shortened_with_its_checksum(name: str) -> None:
    """A name that leaves no room for its sidecar's is cut, keeps its extension, and cannot be mistaken."""
    best = next(candidates(name, SHA256, suffix=".caption.json"))
    assert f"~{SHA256[:8]}" in best
    assert best.endswith(".jpg") or not name.endswith(".jpg")
    assert length(best) > 230


@given(NAMES, NAMES)
def test_job_ids_tell_jobs_apart(one: str, other: str) -> None:
    """Work on two files never meets; work on the same file always does."""
    assert (job_id(one, SHA256) == job_id(other, SHA256)) == (one == other)
    assert job_id(one, SHA256) != job_id(one, "another")
    assert set(job_id(one, SHA256)) <= set("0123456789abcdef")
    assert len(job_id(one, SHA256)) == 24


@given(NAMES)
def test_what_is_shown_is_text(name: str) -> None:
    """What people see of a name can always be printed, and is the name itself where that is UTF-8."""
    assert shown(name).encode()
    assert (shown(name) == name) == is_utf8(name) or "\ufffd" in name
