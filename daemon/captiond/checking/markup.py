"""Removes an answer's markup: fences, Markdown, quotation marks around all of it, HTML entities.  Pure.

Line breaks stay, since labels and preambles are recognized by them.  No word is changed.
"""

from __future__ import annotations

import re
from html import unescape
from html.entities import html5

from captiond.checking.scripts import SPACED_LETTER

_FENCE = re.compile(r"(?:```|~~~)[ \t]*(?P<kind>[\w+-]*)[ \t]*(?:\n|(?=\S)|\Z)")
_KINDS = frozenset(
    ("", "text", "txt", "plaintext", "plain", "markdown", "md", "json", "html", "xml", "yaml", "caption")
)
_HEADING = re.compile(r"^[ \t]{0,3}(?:#{1,6}[ \t]+|#{2,6})(?=[^\s#])", re.MULTILINE)
_CLOSED_HEADING = re.compile(r"[ \t]+#{1,6}[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:\*[ \t]+|[•‣◦▪●・][ \t]*|[-–·][ \t]+)(?=\S)", re.MULTILINE)
_QUOTED_LINE = re.compile(r"^[ \t]*(?:>[ \t]+)+(?=\S)", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,}|={3,})[ \t]*$", re.MULTILINE)
_BEFORE, _AFTER = f"(?<!{SPACED_LETTER})", f"(?!{SPACED_LETTER})"
_STRONG = re.compile(
    r"(\*{2,3})(?=[^\s*])([^*\n]{1,2000}?)(?<=[^\s*])\1"
    rf"|{_BEFORE}(__)(?=[^\s_])([^\n]{{1,2000}}?)(?<=[^\s_])__{_AFTER}"
)
_LOOSE_STRONG = re.compile(r"^(\s*)\*\*(?=\S)(?!.*\*\*)|(?<=\S)\*\*(\s*)$", re.DOTALL)
_EMPHASIS = re.compile(
    rf"{_BEFORE}(?<!\*)\*(?=[^\s*])([^*\n]{{1,2000}}?)(?<=[^\s*])\*{_AFTER}(?!\*)"
    rf"|{_BEFORE}_(?=[^\s_])([^_\n]{{1,2000}}?)(?<=[^\s_])_{_AFTER}"
)
_CODE = re.compile(r"(?<![`\w])`([^`\n]{1,2000})`(?![`\w])")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,500})\]\((?:https?:|data:|/|#|\w+\.)[^()\s]{0,500}\)")
_TAG = re.compile(
    r"</?(?:br|p|b|i|em|strong|u|span|div|h[1-6]|li|ul|ol|code|pre|caption|description|title|alt|alt_text|html|body|figcaption)"
    r"(?:\s[^<>\n]{0,200})?/?>",
    re.IGNORECASE,
)
_BREAKING_TAG = re.compile(r"<(?:br|/p|/div|/h[1-6]|/li)\s*/?>", re.IGNORECASE)
_BOXED = re.compile(r"^\s*\$?\\boxed\{(?:\\text\{)?([^{}]*)\}{1,2}\$?\s*$")

_AMPERSANDS = re.compile(r"&(?:(?:amp|#0{0,5}38|#x0{0,5}26);)+", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

_WRAPPING = {
    '"': '"',
    "'": "'",
    "`": "`",
    "“": "”",
    "„": "“”",
    "‘": "’",
    "‚": "‘’",
    "«": "»",
    "»": "«»",
    "‹": "›",
    "›": "‹",
    "「": "」",
    "『": "』",
    "”": "”",
    "’": "’",
    "＂": "＂",
}
_NUMBER = re.compile(r"[ \t]*\(?(\d{1,2})[.)][ \t]+(?=\S)|[ \t]*(\d{1,2})[、．][ \t]*(?=\S)")
_ESCAPED_BREAK = re.compile(r"(?:(?:\\r)?\\n){2,}|(?<=[.!?。！？])(?:\\r)?\\n|(?:\\r)?\\n\Z")
_ESCAPED = re.compile(r"\\u(?!d[89a-f])([0-9a-f]{4})", re.IGNORECASE)
_SPACE_PIECE = re.compile("\u2581+(?=[\\w\"'“(])")  # SentencePiece's blank
_LONE = '"“”„«»「」『』'
_STOPS = ".。"


def unfenced(text: str) -> str:
    """What stands between code fences, if there are any; if that is nothing, what stands before them."""
    opening = _FENCE.search(text)
    if opening is None:
        return text
    kind = opening["kind"]
    begins = (
        opening.end() if kind.casefold() in _KINDS or opening[0].endswith("\n") else opening.start("kind")
    )
    mark = opening[0][:3]
    inside, closing, rest = text[begins:].partition(mark)
    before = text[: opening.start()]
    if inside.strip() and closing and not _is_told(before):
        return inside
    return f"{before}\n{inside}\n{rest}".replace("```", "").replace("~~~", "")


def _is_told(before: str) -> bool:
    """Does the text before a fence say more than the words that announce the fence?"""
    last = before.rstrip()
    return bool(last) and not last.endswith((":", "："))


def plain(text: str) -> str:
    """`text` without Markdown, and without the few HTML tags that models write."""
    text = _TAG.sub("", _BREAKING_TAG.sub("\n", text)) if "<" in text else text
    text = _LINK.sub(r"\1", text) if "](" in text else text
    text = _RULE.sub("", text)
    text = _unemphasized(text)
    if _HEADING.search(text):
        text = _CLOSED_HEADING.sub("", _HEADING.sub("", text))
    text = _BULLET.sub("", _QUOTED_LINE.sub("", text))
    boxed = _BOXED.match(text)
    return boxed[1] if boxed is not None else text


def unescaped(text: str) -> str:
    """`text` without what a tokenizer or a JSON string left in it: `▁` for a blank, `\\n`, `\\u2019`."""
    text = _SPACE_PIECE.sub(" ", text)
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), _ESCAPED_BREAK.sub("\n", text))


def unnumbered(text: str, *, only_first: bool) -> str:
    """`text` without its numbers if each line has one, from 1 upwards.

    `only_first`: of these lines the first alone.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    numbers = [_NUMBER.match(line) for line in lines]
    if len(lines) < 2 or [found and int(found[1] or found[2]) for found in numbers] != [
        *range(1, len(lines) + 1)
    ]:
        return text
    bare = [line[found.end() :] for line, found in zip(lines, numbers, strict=True) if found is not None]
    return bare[0] if only_first else "\n".join(bare)


def _unemphasized(text: str) -> str:
    if "*" in text or "__" in text or "_" in text:
        text = _STRONG.sub(lambda found: found[2] or found[4], text)
        text = _LOOSE_STRONG.sub(lambda found: (found[1] or "") + (found[2] or ""), text)
        text = _EMPHASIS.sub(lambda found: found[1] or found[2], text)
    return _CODE.sub(r"\1", text) if "`" in text else text


def strong_only(text: str) -> str:
    """`text` without the marks of bold type: the only Markdown that is removed from visible text."""
    return _STRONG.sub(lambda found: found[2] or found[4], text)


def unquoted(text: str) -> str:
    """`text` without quotation marks around all of it, and without one that has no partner."""
    text = text.strip()
    closers = _WRAPPING.get(text[:1])
    if closers is None:
        return _without_lone(text)
    body, stop = (text[:-1], text[-1]) if text[-1] in _STOPS else (text, "")
    if len(body) < 2 or body[-1] not in closers:
        return _without_lone(text)
    inner = body[1:-1]
    if not _is_one(inner, body[0], body[-1]):
        return text
    inner = inner.strip()
    return inner if not stop or inner.endswith((".", "!", "?", "。", "！", "？", "…")) else inner + stop


def _is_one(inner: str, opener: str, closer: str) -> bool:
    """Do the marks around `inner` belong together, rather than each to another mark within?"""
    if opener == closer:
        apart = [at for at, char in enumerate(inner) if char == opener]
        if opener in "'’":
            apart = [at for at in apart if not _is_within_word(inner, at)]
        if not apart:
            return True
        # `"A sign says "Stop"."`: the first mark within opens another quotation.
        first = apart[0]
        opens = (first == 0 or inner[first - 1].isspace()) and not inner[first + 1 : first + 2].isspace()
        return opens and len(apart) % 2 == 0 and first + 1 < len(inner)
    depth = 0
    for at, char in enumerate(inner):
        if char == closer and not (char == "’" and _is_within_word(inner, at)):
            depth -= 1
        elif char == opener:
            depth += 1
        if depth < 0:
            return False
    return depth == 0


def _is_within_word(text: str, at: int) -> bool:
    return 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()


def _without_lone(text: str) -> str:
    """`text` without a quotation mark at one end that has no partner anywhere."""
    marks = sum(char in _LONE for char in text)
    if marks != 1 or len(text) < 2:
        return "" if text in _LONE else text
    if text[0] in _LONE:
        return text[1:].lstrip()
    return text[:-1].rstrip() if text[-1] in _LONE and not text[-2].isdigit() else text


def decoded(text: str) -> str:
    """`text` with HTML's entities decoded; what is no entity (`AT&T;`) stays."""
    if "&" not in text:
        return text
    return _ENTITY.sub(_character, _AMPERSANDS.sub("&", text))


def _character(entity: re.Match[str]) -> str:
    name = entity[0][1:]
    if name[0] == "#":
        return unescape(entity[0])
    return html5.get(name, entity[0])
