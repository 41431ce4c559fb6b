"""From a prepared picture to what is said about it: each field is asked, judged, asked again if need be.

The questions of one picture are asked together, which costs little more than one (`Captioner.ask_all`); so
are the second tries of those whose answers were refused.  A server can be asked for all texts in one JSON
object (`fields.ask: together`); if its answer is not one, the questions are asked themselves.  This room
asks; `checking` decides what an answer is worth and what is asked next.  The caption alone decides the
picture's fate: another field that gets no usable answer is absent, with a warning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from captiond import checking
from captiond.captioners import Captioner, Prepared
from captiond.checking import Facts, Judged, Question
from captiond.errors import Rejected, TryLater
from captiond.pipeline.preparing import Ready
from captiond.records import (
    Answer,
    AskAll,
    Asked,
    CaptionRequest,
    DroppedText,
    FieldName,
    Interview,
    Notice,
    PictureFacts,
    Rules,
    Said,
    Texts,
)

log = structlog.get_logger(__name__)

INVALID_JSON = "invalid_json"  # the notice's code if the one answer to all questions could not be parsed
_TOKENS_PER_KEY = 12  # for a field's name in JSON and the punctuation around its text


def said_about(ready: Ready[Prepared], captioner: Captioner[Prepared], rules: Rules) -> Said:
    """Raises whatever `Interviewing` raises."""
    return rules.interview(partial(captioner.ask_all, ready.prepared), ready.facts)


@dataclass(frozen=True, slots=True)
class FieldQuestion:
    """One field's question, and where its answer is cut off."""

    question: Question
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Interviewing:
    """The questions that the settings ask about a picture; equal objects ask the same questions."""

    caption: FieldQuestion
    others: tuple[FieldQuestion, ...] = ()
    second_tries: int = 2
    fails_unsure: bool = False
    asks_together: bool = False  # for one JSON object that answers all questions

    @property
    def language(self) -> str | None:
        return self.caption.question.language

    def __call__(self, ask_all: AskAll, facts: PictureFacts) -> Said:
        """Raises: Rejected or TryLater, if the caption's question meets it; Surroundings, if any meets it."""
        caption = _Field(self.caption, self.second_tries)
        fields = [caption, *(_Field(one, self.second_tries) for one in self.others)]
        notices: tuple[Notice, ...] = ()
        if self.asks_together and len(fields) > 1:
            notices = _asked_together(ask_all, fields, facts)
        while waiting := [one for one in fields if one.request is not None]:
            answers = ask_all([one.request for one in waiting if one.request is not None])
            for one, answer in zip(waiting, answers, strict=True):
                one.take(answer, _known(facts, caption))
        if not caption.tries:
            raise caption.trouble or TryLater("the model gave no answer")
        answer, judged = caption.best()
        if not judged.is_usable:
            raise _unusable(answer, judged)
        if self.fails_unsure and judged.needs_look:
            raise _unsure(judged)
        return self._said(fields, notices)

    def narrowed(self, only: FieldName | None, prompt: str | None, texts: Texts) -> Interview:
        """The same questions, but about one text `only`, or with another `prompt` for the caption.

        `texts`: what is said about the picture so far; a text that is not asked for stays.
        """
        caption = self.caption
        if prompt is not None:
            caption = replace(caption, question=replace(caption.question, prompt=prompt))
        if only is None:
            return replace(self, caption=caption)
        if only == "caption":
            return partial(self._caption_alone, caption, texts)
        return partial(self._alone, next(one for one in self.others if one.question.field == only), texts)

    def _caption_alone(
        self, caption: FieldQuestion, texts: Texts, ask_all: AskAll, facts: PictureFacts
    ) -> Said:
        said = replace(self, caption=caption, others=())(ask_all, facts)
        return replace(said, texts=replace(texts, caption=said.texts.caption))

    def _alone(self, asking: FieldQuestion, texts: Texts, ask_all: AskAll, facts: PictureFacts) -> Said:
        """One text beside the caption.  Raises as the whole interview does."""
        one = _Field(asking, self.second_tries)
        known = Facts(texts.caption, facts.luminance_mean, facts.luminance_spread)
        while one.request is not None:
            (answer,) = ask_all([one.request])
            one.take(answer, known)
        if not one.tries:
            raise one.trouble or TryLater("the model gave no answer")
        answer, judged = one.best()
        if not judged.is_usable:
            raise _unusable(answer, judged)
        told = _texts({"caption": Judged(texts.caption), one.name: judged})
        new: dict[str, Any] = {one.name: getattr(told, one.name)}
        if one.name == "keywords":
            new["keyword_paths"] = told.keyword_paths
        return Said(
            texts=replace(texts, **new),
            answer=answer,
            notices=tuple(Notice(each.code, each.message, each.field) for each in judged.findings),
            asked=(one.asked(),),
            dropped=tuple(DroppedText(each.field, each.text, each.reason) for each in judged.dropped),
            needs_look=judged.needs_look,
            language=self.language,
        )

    @property
    def prompts(self) -> Mapping[FieldName, str]:
        """For each text, the prompt of its first try."""
        return {one.question.field: one.question.prompt for one in (self.caption, *self.others)}

    def _said(self, fields: Sequence[_Field], more: tuple[Notice, ...]) -> Said:
        chosen = {one.name: one.best() for one in fields if one.tries}
        told = {name: judged for name, (_, judged) in chosen.items() if judged.is_usable}
        findings = [finding for _, judged in chosen.values() for finding in judged.findings]
        notices = [Notice(one.code, one.message, one.field if self.others else None) for one in findings]
        notices += more
        notices += [_not_had(one) for one in fields if not one.tries]
        answer, caption = chosen["caption"]
        has_more = len(fields) > 1 or len(fields[0].tries) > 1
        return Said(
            texts=_texts(told),
            answer=replace(answer, text=caption.text, raw_output=_raw(answer, caption.text), notices=()),
            notices=tuple(notices),
            asked=tuple(one.asked() for one in fields if one.tries) if has_more else (),
            dropped=tuple(
                DroppedText(one.field, one.text, one.reason)
                for _, judged in chosen.values()
                for one in judged.dropped
            ),
            needs_look=any(judged.needs_look for judged in told.values()),
            language=self.language,
        )


@dataclass
class _Field:
    """One field while it is asked: its answers so far, each with what is thought of it."""

    asking: FieldQuestion
    most: int  # second tries allowed
    tries: list[tuple[Answer, Judged]] = field(default_factory=list)
    trouble: Rejected | TryLater | None = None
    request: CaptionRequest | None = None  # what to ask next, if anything

    def __post_init__(self) -> None:
        self.request = CaptionRequest(self.asking.question.prompt, self.asking.max_new_tokens)

    @property
    def name(self) -> FieldName:
        return self.asking.question.field

    def take(self, answer: Answer | Rejected | TryLater, facts: Facts) -> None:
        """Judge the answer to `request`, and decide what to ask next."""
        self.request = None
        if not isinstance(answer, Answer):
            self.trouble = answer
            return
        question, raw = self.asking.question, answer.text if answer.raw_output is None else answer.raw_output
        judged = checking.judge(
            raw,
            question,
            finish_reason=answer.finish_reason,
            facts=facts,
            has_thoughts=answer.has_thoughts,
        )
        for pattern in judged.slow_patterns:
            log.warning("a pattern of checks.banned takes too long, and counts as not found", pattern=pattern)
        self.tries.append((answer, judged))
        again = checking.next_request([one for _, one in self.tries], question, most=self.most)
        if again is not None:
            limit = self.asking.max_new_tokens
            self.request = CaptionRequest(again.prompt, limit, temperature=again.temperature, seed=again.seed)

    def best(self) -> tuple[Answer, Judged]:
        chosen = checking.best([judged for _, judged in self.tries])
        return next((answer, judged) for answer, judged in self.tries if judged is chosen)

    def asked(self) -> Asked:
        """For the sidecar: the answer that is delivered, and those that came beside it."""
        answer, judged = self.best()
        raw = _raw(answer, judged.text)
        others = tuple(_told(one) for one, _ in self.tries if one is not answer)
        return Asked(self.name, replace(answer, text=judged.text, raw_output=raw), others)


def _asked_together(ask_all: AskAll, fields: Sequence[_Field], facts: PictureFacts) -> tuple[Notice, ...]:
    """Ask one question for all fields and give each its part; if that fails, a notice, and each is asked."""
    asked = [(one.asking.question.field, one.asking.question.prompt) for one in fields]
    names = [name for name, _ in asked]
    tokens = sum(one.asking.max_new_tokens + _TOKENS_PER_KEY for one in fields)
    schema = json.dumps(checking.schema(names))
    (answer,) = ask_all([CaptionRequest(checking.asked_together(asked), tokens, schema=schema)])
    if not isinstance(answer, Answer):
        return (Notice(INVALID_JSON, f"the questions were asked one by one: {answer.message}"),)
    raw = answer.text if answer.raw_output is None else answer.raw_output
    told = checking.taken_apart(raw, names)
    if told is None:
        why = checking.complaint(raw, names)
        return (Notice(INVALID_JSON, f"the answer to all questions at once was not used: {why}"),)
    for one in fields:
        one.take(_part(answer, told[one.name], one.request), _known(facts, fields[0]))
    return ()


def _part(answer: Answer, text: str, request: CaptionRequest | None) -> Answer:
    """One field's part of the answer to all questions; how many tokens it took is unknown."""
    return replace(
        answer,
        text=text,
        raw_output=None,
        request=request or answer.request,
        new_tokens=None,
        finish_reason="stop",  # the object is whole, whatever came after it
        notices=(),
        has_thoughts=False,
    )


def _known(facts: PictureFacts, caption: _Field) -> Facts:
    """The facts that a judgement may use; in each round the caption is judged first."""
    words = caption.best()[1].text if caption.tries else None
    return Facts(words, facts.luminance_mean, facts.luminance_spread)


def _texts(told: dict[FieldName, Judged]) -> Texts:
    text: Callable[[FieldName], str | None] = lambda name: told[name].text if name in told else None  # noqa: E731
    keywords = told.get("keywords")
    return Texts(
        told["caption"].text,
        alt_text=text("alt_text"),
        title=text("title"),
        keywords=keywords.keywords if keywords is not None else (),
        keyword_paths=keywords.keyword_paths if keywords is not None else (),
        visible_text=text("visible_text"),
    )


def _raw(answer: Answer, text: str) -> str | None:
    """What the model said, if that is not what is delivered."""
    raw = answer.text if answer.raw_output is None else answer.raw_output
    return raw if raw != text else None


def _told(answer: Answer) -> Answer:
    return replace(answer, raw_output=answer.text if answer.raw_output is None else answer.raw_output)


def _not_had(one: _Field) -> Notice:
    why = one.trouble.message if one.trouble is not None else "the model gave no answer"
    return Notice("empty", f"it could not be had: {why}", one.name)


def _unusable(answer: Answer, judged: Judged) -> Rejected:
    is_cut = answer.finish_reason == "length"
    limit = answer.request.max_new_tokens
    why = "; ".join(finding.message for finding in judged.findings) or "the model had nothing to say"
    advice = "Look at the picture; another prompt or model may have words for it."
    if is_cut:
        advice = f"It was cut off after {limit} tokens; raise caption.max_new_tokens."
    if checking.is_only_thoughts(answer.raw_output or answer.text, has_thoughts=answer.has_thoughts):
        advice = f"{advice if is_cut else ''} {_THINKING_OFF}".strip()
    return Rejected(
        "empty_caption",
        f"the model has no caption for this picture: {why}",
        stage="caption",
        advice=advice,
    )


_THINKING_OFF = (
    "It only thought: turn that off where the model is served (llama.cpp: --reasoning-budget 0; vLLM: "
    "--default-chat-template-kwargs '{\"enable_thinking\": false}', and no --reasoning-parser), or take a "
    "model that does not think."
)


def _unsure(judged: Judged) -> Rejected:
    why = "; ".join(finding.message for finding in judged.findings) or "it was cut off"
    return Rejected(
        "unsure",
        f"its caption stayed doubtful: {why}",
        stage="caption",
        advice="Ask with another prompt or model, or set checks.unsure: deliver, then `captiond retry`.",
    )
