"""What the first answer need not wait for."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from captiond.checking import Question, judge, warm_up
from captiond.records import FieldName

SAID = (
    "Sure, here is a caption for the image: Two dogs run along a beach.",
    "I'm sorry, but I cannot describe this picture.",
    'A sign at 12 Main Street says "Open", call +1 555 0100.',
    "dogs, beach; sunset",
    "",
)


@pytest.mark.parametrize("field", get_args(FieldName))
def test_nothing_is_compiled_later(field: FieldName, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `warm_up` each answer is judged by patterns that are there."""
    warm_up()

    def compiled(pattern: object, *_: object) -> None:
        raise AssertionError(f"compiled late: {pattern!r}"[:200])

    monkeypatch.setattr(re, "compile", compiled)
    for said in SAID:
        judge(said, Question(field, "What is shown?"))
