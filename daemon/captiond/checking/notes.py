"""What a text is marked for, though it is delivered: contacts, camera jargon, quotations.  Pure."""

from __future__ import annotations

import re
from functools import cache

from captiond.checking import scripts
from captiond.checking.phrases import any_of, every
from captiond.checking.records import Facts
from captiond.checking.scripts import SPACED_LETTER

DARK_MEAN, DARK_SPREAD, UNIFORM_SPREAD = 12.0, 8.0, 2.5  # of 255
_QUOTED_WORDS, _QUOTED_UNSPACED = 3, 6
_FEWEST_SIGNS = 2  # of different kinds, one of which is not part of a lens's name

_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_WEB = re.compile(
    r"https?://\S|(?<![A-Za-z\d.])www\.[\w-]+\.\w|(?<![A-Za-z\d.@/-])[a-z0-9][a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,63})*"
    r"\.(?:com|org|net|info|biz|de|fr|es|it|pt|br|uk|nl|ru|cn|jp|kr|eu|io|app|shop|example|test|invalid)(?![A-Za-z\d-]|\.\w)"
)
_HANDLE = re.compile(r"(?<![A-Za-z\d.@])@[A-Za-z_][\w.]{2,29}")
# Digits in groups; a telephone number begins with +, 0 or a bracket, or stands behind a word that says so.
_NUMBER = r"\+?\(?\d[\d\s().\-/–]{5,20}\d"
_DIALED = re.compile(
    r"(?<![A-Za-z\d.,:/-])(?:\+\d|\(0?\d|0(?=\d|[\s()/-]))[\d\s().\-/–]{6,20}\d(?![A-Za-z\d:%°]|[.,]\d)"
)
_GROUPED = re.compile(
    r"(?<![A-Za-z\d.,])(?:\d{3}[\s.-]\d{3}[\s.-]\d{4}|\d{3}-\d{4}|\d{2,4}-\d{3,4}[- ]\d{4}|1[3-9]\d{9})"
    r"(?![A-Za-z\d]|[.,-]\d)"
)
_FEWEST_DIALED, _FEWEST_TOLD = 8, 5
_POST_CODE = re.compile(
    r"(?<!\w)(?:\d{5}(?:-\d{3,4})?|\d{4}-\d{3}|\d{4}\s?[A-Z]{2}|[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|[A-Z]\d[A-Z]\s?\d[A-Z]\d|CEP\s?\d{5}-?\d{3})(?!\w)|〒\s?\d{3}-?\d{4}"
)
_TOWN = re.compile(r"\s*,\s*(?:[A-Z]{2}\s+\d|\d{4,6}\s|[^\W\d_a-z])")
_UNSPACED_ADDRESS = re.compile(
    r"[\u4e00-\u9fff]{1,8}(?:路|街|大道|巷|弄|胡同)\s?\d{1,5}\s?(?:号|號|弄)|[都道府県市区町村][^\s、。]{0,12}?\d{1,4}(?:丁目|番地?|[-−‐ー－]\d)|\d{1,4}丁目"
    r"|〒\s?\d{3}-?\d{4}|[가-힣]+(?:로|길)\s?\d{1,4}(?:번길|\s?호)?(?=[\s,.]|\Z)"
)

_APERTURE = re.compile(
    r"(?<![\w/])[fF]\s?[/ƒ]\s?\d{1,2}(?:[.,]\d{1,2})?|(?<!\w)ƒ\s?/?\s?\d"
    r"|(?<![A-Za-z\d])(?:F\s?\d{1,2}(?:\.\d)?|f\s?\d{1,2}[.,]\d)(?![A-Za-z\d]|\.\d)"
)
_ISO = re.compile(r"(?<![A-Za-z])ISO\s?[-:]?\s?(\d{2,6})(?!\d)", re.IGNORECASE)
_SHUTTER = re.compile(
    r"(?<![\d/])1\s?/\s?\d{2,5}(?:\s?秒|(?=\s*[,.;、，。])|\s?(?:of a |de |di |d'une )?"
    r"(?:s|sec|sek|seg|с|seconds?|secondes?|segundos?|secondo|secondi|sekunden?)\b)",
    re.IGNORECASE,
)
_FOCAL = re.compile(r"(?<![\d.,])\d{1,4}(?:\s?[-–]\s?\d{1,4})?\s?(?:mm|毫米|ミリ|мм)(?![A-Za-z])")
_SPEEDS = frozenset(str(base << step) for base in (25, 64, 80, 125, 1250) for step in range(10))


_QUOTED = re.compile(
    r"\"([^\"]{2,400})\"|“([^“”]{2,400})”|„([^„“”]{2,400})[“”]|«([^«»]{2,400})»|»([^«»]{2,400})«"
    r"|「([^「」]{2,400})」|『([^『』]{2,400})』|(?<!\w)‘([^‘’]{2,400})’(?!\w)|(?<!\w)'([^']{2,400})'(?!\w)|”([^“”]{2,400})”"
)


def has_contact_details(text: str) -> bool:
    """Mail, web, a handle, a telephone number, or a street with its number and town."""
    if _MAIL.search(text) or _WEB.search(text) or _HANDLE.search(text):
        return True
    if not any(char.isdigit() for char in text):
        return False
    dialed = any(_digits(found[0]) >= _FEWEST_DIALED for found in _DIALED.finditer(text))
    told = any(_digits(found["number"]) >= _FEWEST_TOLD for found in _told_number().finditer(text))
    return dialed or told or bool(_GROUPED.search(text)) or _has_address(text)


def _digits(text: str) -> int:
    return sum(char.isdigit() for char in text)


@cache
def _told_number() -> re.Pattern[str]:
    words = any_of(every("contact.phone"))
    return re.compile(
        rf"(?<!{SPACED_LETTER})(?:{words})[\s.:：#nº°はがを为是-]{{0,6}}(?P<number>{_NUMBER})", re.IGNORECASE
    )


def _has_address(text: str) -> bool:
    if _UNSPACED_ADDRESS.search(text):
        return True
    for street in _streets().finditer(text):
        behind = text[street.end() : street.end() + 48]
        if _TOWN.match(behind) or _POST_CODE.search(behind):
            return True
    return False


@cache
def _streets() -> re.Pattern[str]:
    """A pattern for a street with a house number, as several countries write it."""
    name = r"[^\W\d_][\w'’.-]{0,30}"
    last, behind = any_of(every("contact.streets_last")), any_of(every("contact.streets_behind"))
    before, ending = any_of(every("contact.streets_before")), any_of(every("contact.street_endings"))
    number = r"\d{1,5}\s?[A-Za-z]?(?:\s(?:bis|ter))?"
    return re.compile(
        rf"(?<!\w)(?:{number}\s(?:{name}\s){{1,3}}(?:{last})"
        rf"|{number},?\s(?:{behind})\s{name}(?:\s{name}){{0,4}}"
        rf"|(?:{before})\s{name}(?:\s{name}){{0,4}}?,?\s(?:n\.?\s?º?\s?)?{number}(?!\w)"
        rf"|(?<![\w.-])[\w.-]{{1,40}}?\s?(?:{ending})\s{number}(?!\w))",
        re.IGNORECASE,
    )


def has_camera_jargon(text: str) -> bool:
    """Does it recite how the picture was taken?  The name of a lens in the picture is no such jargon."""
    settings = {
        "iso": any(found[1] in _SPEEDS for found in _ISO.finditer(text)),
        "shutter": bool(_SHUTTER.search(text)),
        "aperture": bool(_APERTURE.search(text)),
        "focal": bool(_FOCAL.search(text)),
    }
    told = {name for name, is_there in settings.items() if is_there}
    words = {found[0].casefold() for found in _jargon().finditer(text)}
    is_taken = bool(told & {"iso", "shutter"}) or bool(words and told)
    return (is_taken and len(told) + bool(words) >= _FEWEST_SIGNS + (not told & {"iso", "shutter"})) or len(
        words
    ) >= 3


@cache
def _jargon() -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z])(?:{any_of(every('jargon.words'))})", re.IGNORECASE)


def quotes_at_length(text: str) -> bool:
    """Does it quote more than a name?"""
    for found in _QUOTED.finditer(text):
        quoted = next(group for group in found.groups() if group is not None)
        words = scripts.words(quoted)
        unspaced = sum(scripts.is_unspaced(word[0]) for word in words)
        if len(words) - unspaced >= _QUOTED_WORDS or unspaced >= _QUOTED_UNSPACED:
            return True
    return False


def shows_little(facts: Facts) -> bool:
    """Is the picture nearly black, or of one colour?  Then a model can hardly have seen what it says."""
    mean, spread = facts.luminance_mean, facts.luminance_spread
    if spread is None:
        return False
    return spread < UNIFORM_SPREAD or (mean is not None and mean < DARK_MEAN and spread < DARK_SPREAD)


def is_same(one: str, other: str) -> bool:
    """Do they say the same words, whatever the case and the punctuation?"""
    words = scripts.words(one)
    return words == scripts.words(other) if words else one.strip() == other.strip()
