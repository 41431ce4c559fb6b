"""Judges what a model said before it is delivered: a text is fixed, asked for again, or marked.

This room gets text, question and facts alone, and knows no picture, server or file.  `judge` takes one
answer, `best` chooses among several, `next_request` says what to ask next.  Nothing here raises for any text,
and a text that comes out is a fixed point: judged again, it stays the same.  The order is

1. fix: tokens and second turns, thoughts, fences, Markdown, quotation marks, labels, preambles, entities,
   what XML cannot hold; a text that the token limit cut ends with its last whole sentence;
2. ask again: empty, a refusal, an echo, a loop, the wrong language, far too long, banned;
3. hold the limit, at a sentence, a clause or a word;
4. note: contact details, camera jargon, quoted text, a picture that shows little, an alt text that says
   the caption again.
"""

from __future__ import annotations

from captiond.checking.banned import Banned, WrongPattern
from captiond.checking.judging import is_only_thoughts, judge, warm_up
from captiond.checking.records import (
    Dropped,
    Facts,
    Finding,
    Judged,
    KeywordRules,
    Question,
)
from captiond.checking.repeats import Repeats, are_one
from captiond.checking.together import asked_together, complaint, schema, taken_apart
from captiond.checking.tries import Ask, answer_in, best, next_request
from captiond.checking.vocabulary import Vocabulary, WrongVocabulary, parse

__all__ = [
    "Ask",
    "Banned",
    "Dropped",
    "Facts",
    "Finding",
    "Judged",
    "KeywordRules",
    "Question",
    "Repeats",
    "Vocabulary",
    "WrongPattern",
    "WrongVocabulary",
    "answer_in",
    "are_one",
    "asked_together",
    "best",
    "complaint",
    "is_only_thoughts",
    "judge",
    "next_request",
    "parse",
    "schema",
    "taken_apart",
    "warm_up",
]
