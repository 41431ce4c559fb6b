"""What another process sent becomes a record, or a ValueError."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captiond.commands.sentences import sentence
from captiond.status import Standing, Status, Unserved, Where
from captiond.support.wire import decoded, parsed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WELL = Status(
    state="watching",
    pause_reason=None,
    pause_advice=None,
    counts={"waiting": 1},
    rate_per_second=0,
    seconds_to_finish=None,
    watch={"method": "native", "degraded": None},
    model={"id": "demo", "loaded": True},
    last_error=None,
    started_at="2026-01-01T00:00:00Z",
    process=1,
    hanging=None,
    unserved=(Unserved("RAW", 63, "pip install 'captiond[raw]'"),),
)


def test_a_record_survives_the_way() -> None:
    """Encoded and decoded it is the same, also where one record holds another, or several."""
    standing = Standing("companion", companion_of="a.jpg", picture=Standing("waiting", behind=3))
    for record in (WELL, standing):
        assert decoded(type(record), json.loads(json.dumps(asdict(record)))) == record


def test_another_version_is_read_as_far_as_it_is_understood() -> None:
    """A key that we do not know is left out; one that we can do without may be missing."""
    told = asdict(WELL) | {"mood": "fine"}
    del told["gives_up_seconds"]
    assert decoded(Status, told) == WELL


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "dancing"},
        {"state": None},
        {"counts": []},
        {"counts": {"waiting": "many"}},
        {"counts": {"waiting": True}},
        {"process": 1.5},
        {"rate_per_second": "fast"},
        {"watch": {"method": 1}},
        {"model": None},
        {"unserved": {"RAW": 63}},
    ],
)
def test_what_is_of_another_kind_is_refused(wrong: dict[str, object]) -> None:
    """Nothing later meets a value that it does not expect."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        decoded(Status, asdict(WELL) | wrong)


@given(JSON, st.sampled_from([Status, Standing]))
def test_anything_is_a_record_or_a_valueerror(data: object, record: type[Status] | type[Standing]) -> None:
    """Nothing that JSON can say raises anything else."""
    try:
        decoded(record, data)
    except ValueError:
        pass


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 99_999])
def test_what_is_no_object_is_a_valueerror(text: bytes) -> None:
    """However deep, cut short or binary it is."""
    with pytest.raises(ValueError):
        parsed(text)


def test_every_standing_has_its_sentence() -> None:
    """Each state can be told to people, with or without what usually goes with it."""
    for state in get_args(Where):
        assert sentence(Standing(state))
        assert sentence(Standing(state, "why", 3.0, 2, True, "a.jpg", Standing("in_work")))
