"""Takes the first answer alone out of a raw one: no thoughts, no tokens, no second turn.  Pure.

The tokens of chat templates are a small, slowly growing set, alike in all families of models: `<|...|>` of
ChatML, Llama 3, Phi and Harmony, Gemma's `<start_of_turn>`, Llama 2's `[INST]`, SentencePiece's `</s>`.
Tokens at the beginning are removed; the first one behind some text ends the answer.  Line breaks stay, since
the next fixes read them.
"""

from __future__ import annotations

import re
from functools import cache

from captiond.checking.phrases import any_of, every

_BARS = "|\uff5c"  # DeepSeek writes its tokens with full-width bars
_NAMED = (
    r"s|eos|bos|pad|unk|sep|cls|mask|endoftext|end_of_(?:turn|text|utterance|sentence)|start_of_turn|turn"
    r"|end_of_image|start_of_image|image|img|image_soft_token|fake_token_around_image|row_\d+_col_\d+|global-img"
    r"|unused\d{1,4}|extra_id_\d{1,4}|eot|eom|im_(?:start|end)|BOS_TOKEN|EOS_TOKEN|answer|response|output"
)
_TOKEN = rf"<[{_BARS}][^<>{_BARS}\n]{{1,60}}[{_BARS}]?>|</?(?:{_NAMED})/?>|<[^<>\n{_BARS}]{{1,60}}[{_BARS}]>"
_TOKEN += r"|\[/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|EOS|BOS|PAD|UNK|SEP|CLS|IMG|IMG_END|IMG_BREAK)\]"
_TOKEN += rf"|<</?SYS>>|<[{_BARS}][A-Za-z_]{{1,40}}\Z"  # the last: a token that the limit cut
_TOKENS = re.compile(_TOKEN, re.IGNORECASE)
# A picture may show these, so they stay in visible text.
_SPEAKER = r"(?:assistant|user|human|model|bot|system)"
_TOOL = r"(?:tool_calls?|tool_response|function_calls?)"
_TAGGED = re.compile(rf"</{_SPEAKER}>|</?{_TOOL}>|^[ \t]*<{_SPEAKER}>", re.IGNORECASE | re.MULTILINE)
# ChatML and Gemma without their tokens, as a server that skips special tokens hands them on.
_BARE_SPEAKER = re.compile(r"\s*(?:assistant|model)[ \t]*\n(?=\s*\S)")
_BARE_TURN = re.compile(r"\n[ \t]*(?:user|human|assistant|model)[ \t]*(?:\n|\Z)")
# A frame at the beginning may be followed by the speaker's name.
_FRAMES = re.compile(
    rf"\s*(?:(?:{_TOKEN})\s*(?:(?:assistant|model|bot|gpt)\b\s*(?=\n|[<\[:]|\Z)[:\s]*)?)+", re.IGNORECASE
)
_SILENT = re.compile(  # these may stand amid an answer without ending it
    r"<(?:unk|mask|image|img|image_soft_token|pad)>"
    rf"|<[{_BARS}]/?(?:ref|box|object_ref_start|object_ref_end|begin_of_box|end_of_box|image|image_\d+)[{_BARS}]>"
    rf"|<[{_BARS}](?:box|quad)_start[{_BARS}]>[^<]{{0,200}}<[{_BARS}](?:box|quad)_end[{_BARS}]>"
    r"|</?(?:ref|grounding|phrase|object|delimiter_of_multi_objects/?)>"
    r"|<box>[^<]{0,200}</box>|<(?:loc|seg|patch_index)_?\d{1,5}>|<0x[0-9A-F]{2}>",
    re.IGNORECASE,
)

_THOUGHT_NAMES = (
    r"think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think|(?:internal_|inner_)monologue"
    r"|chain_of_thought"
)
_LEFT, _RIGHT = r"(?:<|&lt;)[ \t]?", r"[ \t]?(?:>|&gt;)"  # some servers escape what they send
_OPENED = re.compile(
    rf"{_LEFT}[{_BARS}]?(?:(?:begin|start)_(?:of_)?)?(?:{_THOUGHT_NAMES})(?:\s[^<>\n]{{0,100}})?[{_BARS}]?{_RIGHT}"
    r"|\[(?:THINK|THINKING|REASONING)\]|◁think▷|<unused94>",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    rf"{_LEFT}(?:/[ \t]?|[{_BARS}]/|[{_BARS}]?end_(?:of_)?)(?:{_THOUGHT_NAMES})[{_BARS}]?{_RIGHT}"
    r"|\[/(?:THINK|THINKING|REASONING)\]|◁/think▷|<unused95>|^\.{3}[ \t]?done thinking\.?",
    re.IGNORECASE | re.MULTILINE,
)
# One of these is in each of the above: an answer of `<` takes a quarter of the time if they are sought first.
_MENTIONED = re.compile(
    r"think|thought|reasoning|reflection|analysis|scratchpad|monologue|<unused9", re.IGNORECASE
)
# Harmony and Gemma: channels of which the last is the answer, if it is not the one for thoughts.
_CHANNEL = re.compile(
    r"<\|channel\|?>\s*(?P<name>[A-Za-z]+)?[^<\n]{0,40}(?:<\|message\|>|\n|(?=<channel\|>))", re.IGNORECASE
)
_CHANNEL_CLOSED = re.compile(r"<channel\|>", re.IGNORECASE)
_THINKING_CHANNELS = frozenset(("analysis", "thought", "thinking", "commentary"))


def without_thoughts(said: str) -> str:
    """What was said behind the thoughts; nothing if only thoughts came."""
    said = _answer_channel(said)
    if _MENTIONED.search(said) is None:
        return _behind_reasons(said)
    closed = None
    for closed in _CLOSED.finditer(said):  # noqa: B007 - the last one is wanted
        pass
    if closed is not None:
        # Some templates write the opening tag into the prompt, so that the answer holds only the closing one.
        opened = _OPENED.search(said)
        before = said[: opened.start()] if opened is not None and opened.start() < closed.start() else ""
        rest = said[closed.end() :]
        again = _OPENED.search(rest)
        rest = rest[: again.start()] if again is not None else rest
        return rest if rest.strip() else without_thoughts(before)  # `before` holds no opening tag
    opened = _OPENED.search(said)
    if opened is not None:
        return said[: opened.start()]  # cut off while it was thinking
    return _behind_reasons(said)


def _behind_reasons(said: str) -> str:
    """What follows reasons in plain words; all of it if there are none."""
    if _reasons_first().match(said.lstrip()) is not None:
        return _behind_answer_label(said) or said  # "Thought:" may be the text, if no answer follows it
    return said if _thinks_aloud().match(said.lstrip()) is None else _behind_answer_label(said)


def _behind_answer_label(said: str) -> str:
    """What follows the last line that begins with "Answer:"; nothing if there is none."""
    label = None
    for label in _answers().finditer(said):  # noqa: B007 - the last one is wanted
        pass
    return said[label.end() :] if label is not None else ""


def first_turn(said: str, *, by_names: bool, is_list: bool = False) -> str:
    """What stands before the first end of a turn.

    `by_names`: a line that begins with the name of a speaker (`User:`) or with `###` is another turn, too;
    so is a line that is such a name, but in a list, where "model" may be an item.
    """
    said = _SILENT.sub("", said)
    frames = _FRAMES.match(said)
    said = said[frames.end() :] if frames is not None else said
    end = _TOKENS.search(said)
    said = said[: end.start()] if end is not None else said
    if not by_names:
        return said
    said = _without_tags(said)
    name = _speaks_first().match(said) or (None if is_list else _BARE_SPEAKER.match(said))
    said = said[name.end() :] if name is not None else said
    bare = None if is_list else _BARE_TURN.search(said)
    if bare is not None and said[: bare.start()].strip():
        said = said[: bare.start()]
    turn = _speaks_next().search(said)
    if turn is not None and said[: turn.start()].strip(" \n#*"):
        said = said[: turn.start()]
    return said


def _without_tags(said: str) -> str:
    """`said` up to the first tag of a speaker or a tool; one at the beginning is only taken away."""
    tag = _TAGGED.match(said.lstrip())
    said = said.lstrip()[tag.end() :] if tag is not None else said
    end = _TAGGED.search(said)
    return said[: end.start()] if end is not None else said


def _answer_channel(said: str) -> str:
    channels = list(_CHANNEL.finditer(said))
    if not channels:
        return said
    last = channels[-1]
    rest = said[last.end() :]
    if (last["name"] or "").casefold() in _THINKING_CHANNELS:
        closed = _CHANNEL_CLOSED.search(rest)
        rest = rest[closed.end() :] if closed is not None else ""
    return rest or said[: channels[0].start()]


@cache
def _thinks_aloud() -> re.Pattern[str]:
    return re.compile(
        rf"[#*_ ]{{0,6}}(?:{any_of(every('thoughts'))})|thinking(?:\.{{3}}|…)\s*\n", re.IGNORECASE
    )


@cache
def _reasons_first() -> re.Pattern[str]:
    return re.compile(rf"[#*_ ]{{0,6}}(?:{any_of(every('reasons'))})", re.IGNORECASE)


@cache
def _answers() -> re.Pattern[str]:
    return re.compile(
        rf"^[ \t]*[#*_]{{0,3}}(?:{any_of(every('labels.any'))})\s*[*_]{{0,2}}[:：][*_]{{0,2}}",
        re.IGNORECASE | re.MULTILINE,
    )


@cache
def _speaks_first() -> re.Pattern[str]:
    """A pattern for the model's name at the beginning, which is removed."""
    return re.compile(rf"\s*(?:{any_of(every('roles.model'))})\s*[:：]\s*", re.IGNORECASE)


@cache
def _speaks_next() -> re.Pattern[str]:
    names = any_of((*every("roles.user"), *every("roles.model")))
    strict = any_of(every("roles.inline"))
    return re.compile(
        rf"\n[ \t]*(?:[*_]{{0,2}}(?:{names})(?:[ \t]+\d{{1,2}})?[*_]{{0,2}}\s*[:：]|\#\#\#)"
        rf"|(?<=[.!?。！？…\"”»」)])[ \t]*(?:(?:{strict})\s*[:：]|\#\#\#)",
        re.IGNORECASE,
    )
