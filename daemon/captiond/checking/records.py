"""The records of this room: a question, the facts beside it, and the judgement on one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captiond.checking.banned import NOTHING_BANNED, Banned
from captiond.checking.vocabulary import Vocabulary
from captiond.records import FieldName

Code = Literal[
    "cut_off",
    "shortened",
    "refusal",
    "echo",
    "loop",
    "wrong_language",
    "too_long",
    "banned",
    "empty",
    "contact_details",
    "camera_jargon",
    "quoted_text",
    "low_information",
    "same_as_caption",
    "invalid_json",
]
Again = Literal["another", "shorter"]  # another answer to the same question, or one of fewer words

ALWAYS_LOOKED_AT: frozenset[Code] = frozenset(
    ("refusal", "echo", "loop", "wrong_language", "banned", "contact_details", "low_information")
)


@dataclass(frozen=True, slots=True)
class KeywordRules:
    """How many keywords of which length are kept, and the user's own words for them."""

    most: int = 12
    words: int = 3
    bytes: int = 64
    vocabulary: Vocabulary | None = None
    vocabulary_only: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for one field, and the limits for its answer."""

    field: FieldName
    prompt: str
    language: str | None = None  # en, pt-BR: checked; None: the model's choice
    limit_characters: int | None = None
    banned: Banned = NOTHING_BANNED
    keywords: KeywordRules = KeywordRules()
    plain_prompt: str | None = None  # the built-in one, asked last; None if there is no other


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the picture and its other texts; None if it was not looked at."""

    caption: str | None = None  # the caption that is delivered, if another field is judged
    luminance_mean: float | None = None  # of 255, over the whole picture
    luminance_spread: float | None = None  # the standard deviation


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Finding:
    """A warning about one text, for the sidecar."""

    code: Code
    field: FieldName
    message: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A part of an answer that is not delivered, and why."""

    field: FieldName
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer, fixed and judged.

    `text` is delivered if this is the best answer; for keywords it is the list as a text, and `keywords` is
    the list.  `again` says how to ask for another; None says that this one is good enough.
    """

    text: str
    findings: tuple[Finding, ...] = ()
    again: Again | None = None
    keywords: tuple[str, ...] = ()
    keyword_paths: tuple[str, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    is_usable: bool = True  # False: nothing that could be delivered
    is_whole: bool = True  # False: the token limit cut it, and no whole sentence remained
    slow_patterns: tuple[
        str, ...
    ] = ()  # of the user's banned ones: they took too long, and count as not found

    @property
    def codes(self) -> frozenset[Code]:
        return frozenset(finding.code for finding in self.findings)

    @property
    def needs_look(self) -> bool:
        """Whether a person should look at it."""
        return not self.is_whole or bool(self.codes & ALWAYS_LOOKED_AT)
