"""What is quiet, what waits, and whose turn it is: told the time, without files."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from captiond.inbox.fair import FairQueue, Line
from captiond.inbox.finding import Finding, Kind
from captiond.inbox.settle import UNREADABLE_RETRY_SECONDS, Book
from captiond.records import Fault, Fingerprint
from inbox.making import explained

WHOLE = Finding(Kind.WHOLE)
CUT = Finding(Kind.PARTIAL, "JPEG data is cut short")
UNTOLD = Finding(Kind.WHOLE, untold=True)
DROPPED = Finding(Kind.PARTIAL, "its film is not there", certain=False, briefly=True)
UNFINISHED = Finding(Kind.UNFINISHED, "a.jpg.aria2 beside it says that aria2 has not finished")
BAD = Finding(Kind.FAULTY, "too much", fault=Fault("too_complex", "too much"))
DOUBTFUL = Finding(Kind.PARTIAL, "ends in zeros", certain=False)


def version(number: int, modified_ns: int = 0) -> Fingerprint:
    return Fingerprint(1, 1, number, modified_ns, 0)


def a_book(
    settle_seconds: float = 1.0, incomplete_after_seconds: float = 600.0, settle_untold_seconds: float = 10.0
) -> Book:
    return Book(
        settle_seconds=settle_seconds,
        incomplete_after_seconds=incomplete_after_seconds,
        settle_untold_seconds=settle_untold_seconds,
    )


def see(book: Book, path: str, number: int, now: float, *, hinted: bool = False) -> bool:
    return book.observe(path, version(number), now, now, hinted=hinted)


def quiet(book: Book, path: str = "a.jpg", number: int = 1, now: float = 10.0) -> None:
    see(book, path, number, now - 1)
    see(book, path, number, now)


def test_quiet_needs_two_equal_looks_that_far_apart() -> None:
    """A file is offered after two equal observations `settle_seconds` apart, not one moment earlier."""
    book = a_book()
    see(book, "a.jpg", 1, 0.0)
    see(book, "a.jpg", 1, 0.999)
    assert book.best() is None
    assert book.next_due() == 1.0
    see(book, "a.jpg", 1, 1.0)
    assert book.best() == ("a.jpg", version(1))


def test_time_alone_settles_nothing() -> None:
    """However much time passes, a file that was looked at once has to be looked at again."""
    book = a_book()
    see(book, "a.jpg", 1, 0.0)
    assert book.due(500.0) == ["a.jpg"]
    assert book.best() is None


def test_a_change_begins_anew() -> None:
    """Whatever part of the fingerprint changes, the quiet time begins again."""
    first = Fingerprint(1, 2, 3, 4, 5)
    for other in (
        Fingerprint(9, 2, 3, 4, 5),
        Fingerprint(1, 9, 3, 4, 5),
        Fingerprint(1, 2, 9, 4, 5),
        Fingerprint(1, 2, 3, -9, 5),
        Fingerprint(1, 2, 3, 4, 9),
    ):
        book = a_book()
        book.observe("a.jpg", first, 0.0, 0.0)
        book.observe("a.jpg", other, 0.9, 0.9)
        book.observe("a.jpg", other, 1.5, 1.5)
        assert book.best() is None
        assert book.due(1.9) == ["a.jpg"]


def test_a_slow_look_claims_no_quiet_that_was_not_seen() -> None:
    """Between the end of the first look and the beginning of the second there lies the whole quiet time."""
    book = a_book()
    book.observe("a.jpg", version(1), 0.0, 30.0)
    book.observe("a.jpg", version(1), 30.5, 60.0)
    assert book.best() is None
    book.observe("a.jpg", version(1), 61.0, 90.0)
    assert book.best() is not None


def test_held_files_wait_for_their_writer() -> None:
    """A held file is never given up; it is tried again by itself, and at once when something happens."""
    book = a_book(incomplete_after_seconds=5.0)
    quiet(book)
    for now in (10.0, 20.0, 1000.0):
        assert book.best() is not None
        assert book.judge("a.jpg", Finding(Kind.HELD), now) is None
        assert book.best() is None
        assert now < book.next_due() <= now + 5.0
        book.due(now + 5.0)
    assert book.best() is not None
    book.judge("a.jpg", Finding(Kind.HELD), 2000.0)
    see(book, "a.jpg", 1, 2000.0, hinted=True)
    assert book.best() is not None


def test_a_file_that_is_never_whole_is_given_up_after_its_patience() -> None:
    """Not whole and unchanged for `incomplete_after_seconds`: handed out with the reason, not earlier."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    assert book.judge("a.jpg", CUT, 10.0) is None
    assert book.settling == 1
    assert book.next_due() == 609.0
    assert book.due(608.9) == []
    assert book.best() is None
    assert book.due(609.0) == []
    assert book.best() is not None
    settled = book.judge("a.jpg", CUT, 609.0)
    assert settled is not None
    assert settled.fault is not None
    assert settled.fault.kind == "truncated" and CUT.reason in settled.fault.message
    assert settled.notices == ()


def test_doubt_is_left_to_the_decoder() -> None:
    """Where it is not certain that the file is cut short, it is handed out as if whole after the patience."""
    book = a_book(incomplete_after_seconds=5.0)
    quiet(book, now=10.0)
    book.best()
    assert book.judge("a.jpg", DOUBTFUL, 10.0) is None
    book.due(20.0)
    book.best()
    settled = book.judge("a.jpg", DOUBTFUL, 20.0)
    assert settled is not None
    assert settled.fault is None
    assert [notice.code for notice in settled.notices] == ["perhaps_not_whole"]


def test_where_nobody_can_tell_of_writers_it_settles_longer() -> None:
    """Quiet for `settle_untold_seconds`, not one moment less, and looked into again at their end."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    assert book.judge("a.jpg", UNTOLD, 10.0) is None
    assert book.settling == 1 and book.incomplete == 0
    assert explained(book, "a.jpg", 12.0) == (
        "settling for 7.0 s more: nobody can tell whether a program still writes it"
    )
    assert book.next_due() == 19.0
    assert book.due(18.9) == [] and book.best() is None
    book.due(19.0)
    assert book.best() is not None
    assert book.judge("a.jpg", UNTOLD, 19.0) is not None


def test_a_change_begins_the_longer_wait_anew() -> None:
    """Whoever writes again within the longer wait is waited for again."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    book.judge("a.jpg", UNTOLD, 10.0)
    see(book, "a.jpg", 2, 18.0)
    see(book, "a.jpg", 2, 19.5)
    assert book.best() is not None
    assert book.judge("a.jpg", UNTOLD, 19.5) is None
    assert book.next_due() == 28.0


def test_a_longer_wait_is_never_shorter() -> None:
    """Where `settle_seconds` are more than `settle_untold_seconds`, they count."""
    book = a_book(settle_seconds=30.0)
    quiet(book, now=31.0)
    see(book, "a.jpg", 1, 60.0)
    book.best()
    assert book.judge("a.jpg", UNTOLD, 60.0) is not None


def test_what_is_wrong_for_good_is_told_at_once() -> None:
    """A file that no time will mend is handed out with its fault when it is quiet, not ten minutes later."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    settled = book.judge("a.jpg", BAD, 10.0)
    assert settled is not None and settled.fault == BAD.fault


def test_a_rest_that_was_dropped_is_waited_for_briefly() -> None:
    """Where the picture is all that is there, it is served after the longer quiet time, with a notice."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    assert book.judge("a.jpg", DROPPED, 10.0) is None
    assert "tried as it is in 0:09" in explained(book, "a.jpg", 10.0)
    book.due(19.0)
    book.best()
    settled = book.judge("a.jpg", DROPPED, 19.0)
    assert settled is not None and settled.fault is None
    assert [(notice.code, "film" in notice.message) for notice in settled.notices] == [
        ("perhaps_not_whole", True)
    ]


def test_what_is_called_unfinished_waits_as_long_as_it_is() -> None:
    """However long it is called so, it is never handed out; a look soon finds that it is no longer."""
    book = a_book(incomplete_after_seconds=5.0)
    quiet(book)
    for now in (10.0, 20.0, 10_000.0):
        assert book.best() is not None
        assert book.judge("a.jpg", UNFINISHED, now) is None
        assert "a.jpg.aria2 beside it says that aria2" in explained(book, "a.jpg", now)
        assert book.settling == book.incomplete == 1
        assert now < book.next_due() <= now + 5.0
        assert book.forsaken == (now > 10.0)
        book.due(now + 5.0)
    assert book.best() is not None
    assert book.judge("a.jpg", WHOLE, 10_010.0) is not None


def test_a_file_that_may_not_be_read_stays_and_is_tried_again() -> None:
    """It is neither offered nor given up, holds nobody up, and is tried again later."""
    book = a_book(incomplete_after_seconds=5.0)
    quiet(book)
    book.best()
    book.judge("a.jpg", Finding(Kind.UNREADABLE, "may not be read by user x"), 50.0)
    assert (book.waiting, book.settling, book.unreadable) == (0, 0, 1)
    assert explained(book, "a.jpg", 51.0) == "unreadable: it may not be read by user x"
    book.due(50.0 + UNREADABLE_RETRY_SECONDS)
    assert book.best() is not None


def test_what_is_in_work_is_not_offered_again() -> None:
    """Touched while in work, a file is offered again only after it was given back, and settles anew."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    assert book.judge("a.jpg", WHOLE, 10.0) is not None
    see(book, "a.jpg", 2, 10.5)
    see(book, "a.jpg", 2, 30.0)
    assert book.best() is None
    see(book, "a.jpg", 3, 30.5)
    book.release("a.jpg", 30.6)
    assert book.due(30.6) == ["a.jpg"]
    see(book, "a.jpg", 3, 30.6)
    assert book.best() is None
    assert book.due(31.5) == ["a.jpg"]
    see(book, "a.jpg", 3, 31.5)
    assert book.best() == ("a.jpg", version(3))


def test_a_released_file_is_not_offered_before_its_time() -> None:
    """Given back for later, it waits that long, even if a full scan sees it meanwhile."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    book.judge("a.jpg", WHOLE, 10.0)
    book.release("a.jpg", 70.0)
    see(book, "a.jpg", 1, 40.0)
    assert book.best() is None
    assert book.waiting == 1
    assert explained(book, "a.jpg", 40.0) == "tried again in 30 s"
    assert book.due(70.0) == ["a.jpg"]
    see(book, "a.jpg", 1, 70.0)
    assert book.best() is not None


def test_a_name_that_comes_again_is_a_new_file() -> None:
    """After `done`, the same name settles from the beginning."""
    book = a_book()
    quiet(book, now=10.0)
    book.best()
    book.judge("a.jpg", WHOLE, 10.0)
    book.done("a.jpg")
    assert see(book, "a.jpg", 1, 11.0)
    assert book.best() is None


def test_a_full_look_forgets_what_is_gone() -> None:
    """What a full scan did not see is forgotten, except what is in work."""
    book = a_book()
    for path in ("work.jpg", "gone.jpg", "here.jpg"):
        quiet(book, path, now=10.0)
        if path == "work.jpg":
            book.best()
            book.judge(path, WHOLE, 10.0)
    book.begin_sweep()
    see(book, "here.jpg", 1, 11.0)
    book.end_sweep()
    assert (book.waiting, book.in_work) == (1, 1)
    assert book.standing("gone.jpg", 11.0) is None


def test_the_oldest_goes_first_and_folders_take_turns() -> None:
    """50,000 pictures in one folder do not hold up the one in another."""
    queue = FairQueue()
    for number in range(1000):
        queue.push(f"dump/{number}.jpg", 1000 - number)
    queue.push("trip/deep/a.jpg", 5000)
    queue.push("top.jpg", 9000)
    order = [queue.pop(lambda _: True) for _ in range(5)]
    assert order == ["dump/999.jpg", "trip/deep/a.jpg", "top.jpg", "dump/998.jpg", "dump/997.jpg"]


@given(st.lists(st.tuples(st.sampled_from(["", "a/", "b/", "c/"]), st.integers(0, 5)), max_size=20))
def test_ahead_of_tells_the_turn(files: list[tuple[str, int]]) -> None:
    """`waiting behind N` is true: exactly N are handed out before it."""
    queue = FairQueue()
    paths = [f"{folder}{number}.jpg" for number, (folder, _) in enumerate(files)]
    for path, (_, modified) in zip(paths, files, strict=True):
        queue.push(path, modified)
        queue.push(path, modified)  # an entry that is repeated counts once
    told = {path: queue.ahead_of(path, lambda _: True) for path in paths}
    left = set(paths)
    order = []
    while (first := queue.pop(left.__contains__)) is not None:
        order.append(first)
        left.remove(first)
    assert {path: turn for turn, path in enumerate(order)} == told


def test_what_is_urgent_goes_before_all_others() -> None:
    """Also what stands in line when that is said, and only as long as it is said."""
    line = Line()
    for number, path in enumerate(["a/1.jpg", "b/2.jpg", "news/3.jpg", "news/4.jpg"]):
        line.push(path, number)
    line.prefer(lambda path: path.startswith("news/"))
    line.push("news/0.jpg", -1)
    assert [line.pop(lambda _: True) for _ in range(3)] == ["news/0.jpg", "news/3.jpg", "news/4.jpg"]
    line.push("news/5.jpg", 5)
    line.prefer(lambda _: False)
    assert [line.pop(lambda _: True) for _ in range(4)] == ["a/1.jpg", "b/2.jpg", "news/5.jpg", None]


@given(st.lists(st.tuples(st.sampled_from(["", "a/", "b/", "c/"]), st.integers(0, 5)), max_size=20))
def test_ahead_of_tells_the_turn_among_the_urgent_too(files: list[tuple[str, int]]) -> None:
    """`waiting behind N` counts those that are urgent first."""
    line = Line()
    line.prefer(lambda path: path.startswith(("b/", "1")))
    paths = [f"{folder}{number}.jpg" for number, (folder, _) in enumerate(files)]
    for path, (_, modified) in zip(paths, files, strict=True):
        line.push(path, modified)
    told = {path: line.ahead_of(path, lambda _: True) for path in paths}
    order = [line.pop(lambda _: True) for _ in paths]
    assert {path: turn for turn, path in enumerate(order)} == told


FINDINGS = st.sampled_from(
    [WHOLE, CUT, DOUBTFUL, UNTOLD, DROPPED, UNFINISHED, BAD, Finding(Kind.HELD), Finding(Kind.GONE)]
)


QUIET_SECONDS_NEEDED = {WHOLE: 0.0, BAD: 0.0, UNTOLD: 8.0, DROPPED: 8.0, CUT: 20.0, DOUBTFUL: 20.0}


class Anything(RuleBasedStateMachine):
    """Whatever happens in whatever order, the promises below hold."""

    settle_seconds = 3.0
    untold_seconds = 8.0
    patience_seconds = 20.0
    paths = st.sampled_from(["a.jpg", "x/b.jpg", "x/c.jpg"])

    def __init__(self) -> None:
        super().__init__()
        self.book = a_book(self.settle_seconds, self.patience_seconds, self.untold_seconds)
        self.now = 0.0
        self.seen: dict[str, list[tuple[float, float, int]]] = {}
        self.in_work: set[str] = set()
        self.not_before: dict[str, float] = {}

    @rule(seconds=st.floats(0.0, 10.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(path=paths, number=st.integers(1, 3), slow=st.floats(0.0, 2.0), hinted=st.booleans())
    def is_seen(self, path: str, number: int, slow: float, hinted: bool) -> None:
        began, self.now = self.now, self.now + slow
        self.book.observe(path, version(number), began, self.now, hinted=hinted)
        self.seen.setdefault(path, []).append((began, self.now, number))

    @rule(path=paths)
    def is_gone(self, path: str) -> None:
        self.book.forget(path)
        if path not in self.in_work:
            self.seen.pop(path, None)
            self.not_before.pop(path, None)

    @rule()
    def due_files_are_looked_at(self) -> None:
        for path in self.book.due(self.now):
            number = self.seen[path][-1][2]
            self.book.observe(path, version(number), self.now, self.now)
            self.seen[path].append((self.now, self.now, number))

    @rule(finding=FINDINGS)
    def the_best_is_judged(self, finding: Finding) -> None:
        best = self.book.best()
        if best is None:
            return
        path, fingerprint = best
        self.it_was_quiet(path, fingerprint.size)
        assert path not in self.in_work
        assert self.now >= self.not_before.pop(path, 0.0)
        is_handed_out = self.unchanged_for(path) >= QUIET_SECONDS_NEEDED.get(finding, math.inf)
        settled = self.book.judge(path, finding, self.now)
        if finding.kind is Kind.GONE:
            self.seen.pop(path, None)
        assert (settled is not None) == is_handed_out
        if settled is not None:
            assert (settled.fault is None) == (finding not in (CUT, BAD))
            self.in_work.add(path)

    @rule(path=paths)
    def is_done(self, path: str) -> None:
        if path in self.in_work:
            self.book.done(path)
            self.in_work.remove(path)
            self.seen.pop(path, None)

    @rule(path=paths, seconds=st.floats(0.0, 5.0))
    def is_released(self, path: str, seconds: float) -> None:
        if path in self.in_work:
            self.book.release(path, self.now + seconds)
            self.in_work.remove(path)
            self.not_before[path] = self.now + seconds

    def unchanged_for(self, path: str) -> float:
        looks = self.seen[path]
        number = looks[-1][2]
        first = next(i for i in range(len(looks)) if all(look[2] == number for look in looks[i:]))
        return self.now - looks[first][1]

    def it_was_quiet(self, path: str, number: int) -> None:
        looks = self.seen[path]
        assert looks[-1][2] == number
        same = looks[-1 - self.unbroken(looks) :]
        assert max(look[0] for look in same) - same[0][1] >= self.settle_seconds - 1e-9

    @staticmethod
    def unbroken(looks: list[tuple[float, float, int]]) -> int:
        count = 0
        while count + 1 < len(looks) and looks[-2 - count][2] == looks[-1][2]:
            count += 1
        return count

    @invariant()
    def nobody_is_lost(self) -> None:
        book = self.book
        assert book.waiting + book.settling + book.in_work + book.unreadable == len(self.seen)
        assert book.in_work == len(self.in_work)
        if book.settling:
            assert book.next_due() < math.inf, "a settling file must come up again by itself"


TestAnything = Anything.TestCase
TestAnything.settings = settings(deadline=None)  # a busy machine is no failure
