"""How the tests of this folder ask for a judgement."""

from __future__ import annotations

from typing import Any

from captiond.checking import Facts, Judged, Question, judge
from captiond.records import FieldName

PROMPT = "Describe what is shown in this image."
LIST_PROMPT = "List keywords for this photo, separated by commas."


def judged(
    said: str,
    field: FieldName = "caption",
    *,
    finish_reason: str = "stop",
    facts: Facts | None = None,
    **question: Any,
) -> Judged:
    """The judgement on one answer to a plain question."""
    asked = Question(
        field, question.pop("prompt", LIST_PROMPT if field == "keywords" else PROMPT), **question
    )
    return judge(said, asked, finish_reason=finish_reason, facts=facts or Facts())
