"""The questions that the settings ask about a picture, for the pictures of one profile or for all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from captiond import checking
from captiond.checking import Banned, KeywordRules, Question, Vocabulary, WrongPattern
from captiond.errors import CannotStart, ExitCode
from captiond.pipeline.asking import FieldQuestion, Interviewing
from captiond.records import FieldName, Limits
from captiond.sidecar import questions

if TYPE_CHECKING:
    from captiond.settings.schema import Caption, Checks, Fields

# Characters per token, low on purpose: some languages take many tokens a word, and the model adds framing.
_CHARACTERS_PER_TOKEN = 2.5
_SPARE_TOKENS = 16
_ORDER: tuple[FieldName, ...] = ("alt_text", "title", "keywords", "visible_text")


class Sections(Protocol):
    """The sections that decide about texts: of the settings themselves, or of a profile."""

    @property
    def caption(self) -> Caption: ...
    @property
    def fields(self) -> Fields: ...
    @property
    def checks(self) -> Checks: ...


def interview_of(sections: Sections) -> Interviewing:
    """Raises: CannotStart, if the vocabulary cannot be read, or a banned expression cannot be understood."""
    fields, checks = sections.fields, sections.checks
    banned, keyword_rules = _banned(checks.banned), _keyword_rules(fields)
    return Interviewing(
        caption=_caption(sections.caption, fields, banned),
        others=tuple(_other(name, fields, banned, keyword_rules) for name in _wanted(sections)),
        second_tries=checks.second_tries,
        fails_unsure=checks.unsure == "fail",
        asks_together=fields.ask == "together",
    )


def digest_of(interview: Interviewing) -> str:
    """A digest of the fields and their questions: it tells whether a library's picture was asked the same."""
    asked = [one.question for one in (interview.caption, *interview.others)]
    return questions.digest_of((one.field, one.prompt) for one in asked)


def _caption(caption: Caption, fields: Fields, banned: Banned) -> FieldQuestion:
    question = Question(
        "caption",
        _in_language(caption.prompt, fields.language),
        language=fields.language,
        limit_characters=caption.max_characters,
        banned=banned,
        plain_prompt=_in_language(_built_in("caption"), fields.language),
    )
    return FieldQuestion(question, caption.max_new_tokens)


def _other(name: FieldName, fields: Fields, banned: Banned, keyword_rules: KeywordRules) -> FieldQuestion:
    limit = _characters(name, fields)
    # Text that can be read in a picture keeps its own language.
    language = None if name == "visible_text" else fields.language
    question = Question(
        name,
        _in_language(getattr(fields, f"{name}_prompt"), language),
        language=language,
        limit_characters=limit,
        banned=banned if name != "visible_text" else Banned(),
        keywords=keyword_rules,
        plain_prompt=_in_language(_built_in(name), language),
    )
    return FieldQuestion(question, _tokens(name, fields))


def limits_of(sections: Sections) -> Limits:
    """The limits for a person's texts: the same lengths as for a model's."""
    fields = sections.fields
    return Limits(
        caption=sections.caption.max_characters,
        alt_text=fields.alt_text_characters,
        title=fields.title_characters,
        keywords=fields.keywords_most,
        visible_text=fields.visible_text_characters,
    )


def longest_answer(sections: Iterable[Sections]) -> int:
    """The most tokens that one answer may have by any of these sections."""
    return max(
        limit
        for one in sections
        for limit in (one.caption.max_new_tokens, *(_tokens(name, one.fields) for name in _wanted(one)))
    )


def _wanted(sections: Sections) -> tuple[FieldName, ...]:
    return tuple(name for name in _ORDER if name in sections.fields.wanted)


def _characters(name: FieldName, fields: Fields) -> int | None:
    limits = {
        "alt_text": fields.alt_text_characters,
        "title": fields.title_characters,
        "keywords": None,
        "visible_text": fields.visible_text_characters,
    }
    return limits[name]


def _tokens(name: FieldName, fields: Fields) -> int:
    limit = _characters(name, fields)
    characters = limit if limit is not None else fields.keywords_most * fields.keyword_words * 16
    enough = int(characters / _CHARACTERS_PER_TOKEN) + _SPARE_TOKENS
    return int(getattr(fields, f"{name}_max_new_tokens") or enough)


def _built_in(name: FieldName) -> str:
    from captiond.settings.schema import Caption, Fields

    return Caption().prompt if name == "caption" else str(getattr(Fields(), f"{name}_prompt"))


def _in_language(prompt: str, language: str | None) -> str:
    """The prompt with the language named last, by its own name."""
    return prompt if language is None else f"{prompt.rstrip()} {checking.answer_in(language)}"


def _keyword_rules(fields: Fields) -> KeywordRules:
    return KeywordRules(
        most=fields.keywords_most,
        words=fields.keyword_words,
        vocabulary=_vocabulary(fields.vocabulary) if fields.vocabulary is not None else None,
        vocabulary_only=fields.vocabulary_only,
    )


def _banned(written: tuple[str, ...]) -> Banned:
    try:
        return Banned.of(written)
    except WrongPattern as error:
        raise _refusal(f"`checks.banned`: {error}") from error


def _vocabulary(file: Path) -> Vocabulary:
    try:
        stat = file.stat()
        return _parsed(file, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refusal(f"`fields.vocabulary` ({file}): {reason}") from error


@lru_cache(maxsize=8)
def _parsed(file: Path, _modified_ns: int, _size: int) -> Vocabulary:
    """Read once for all profiles.  Raises: OSError; ValueError, if it is no vocabulary or not UTF-8."""
    return checking.parse(file.read_text(encoding="utf-8-sig"))


def _refusal(message: str) -> CannotStart:
    return CannotStart(message, exit_code=ExitCode.WRONG_SETTINGS)
