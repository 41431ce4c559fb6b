"""Which pictures of a library are looked into, and when."""

from __future__ import annotations

from captiond.inbox.finding import Finding, Kind
from captiond.libraries.candidates import OLD_SECONDS, Candidates
from captiond.records import Fingerprint

CHANGED_NS = 1_700_000_000_000_000_000
OLD = Fingerprint(1, 2, 3, CHANGED_NS - 10**15, CHANGED_NS)


def candidates(age_seconds: float) -> Candidates:
    return Candidates(
        lambda path, _: path.startswith("known"),
        settle_seconds=1.0,
        incomplete_after_seconds=600.0,
        settle_untold_seconds=10.0,
        now=lambda: CHANGED_NS / 1e9 + age_seconds,
    )


def test_what_is_old_is_handed_out_at_once_though_nobody_can_tell_who_writes() -> None:
    """A library of years, owned by somebody else, is not watched for ten seconds first."""
    book = candidates(OLD_SECONDS)
    book.observe("a.jpg", OLD, 100.0, 100.0)
    assert book.best() == ("a.jpg", OLD)
    assert book.judge("a.jpg", Finding(Kind.WHOLE, untold=True), 100.0) is not None


def test_what_changed_a_moment_ago_settles() -> None:
    """Whatever its modification time was set to: the time of change decides."""
    book = candidates(5.0)
    book.observe("a.jpg", OLD, 100.0, 100.0)
    assert book.best() is None
    book.observe("a.jpg", OLD, 101.0, 101.0)
    assert book.best() == ("a.jpg", OLD)
    assert book.judge("a.jpg", Finding(Kind.WHOLE, untold=True), 101.0) is None


def test_what_is_known_is_not_taken_note_of() -> None:
    """Nothing is kept in memory of the pictures that are described."""
    book = candidates(OLD_SECONDS)
    assert not book.observe("known.jpg", OLD, 100.0, 100.0)
    assert book.standing("known.jpg", 100.0) is None
