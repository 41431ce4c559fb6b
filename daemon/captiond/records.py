"""What travels through the daemon, from a name in the inbox to a committed caption.

Frozen records without I/O, which import nothing of ours but words.  Paths are `str`, relative to a folder,
with `/` between the parts; bytes that are not UTF-8 stand in them as lone surrogates (`os.fsdecode`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from PIL import Image

    from captiond.errors import Kind, Rejected, TryLater
    from captiond.formats.raw import RawNote


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What must stay equal for a file to count as untouched between two looks at it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Fingerprint:
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about one picture that its owner may want to know, and that stopped nothing."""

    code: str
    message: str
    field: FieldName | None = None  # of which text, if several were asked for


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file for good, told without decoding it."""

    kind: Kind
    message: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class SettledFile:
    """A file that is complete (quiet, held by no writer, whole), or never will be and has a fault."""

    path: str
    fingerprint: Fingerprint
    noticed_at: float  # seconds on the monotonic clock, when the name was first seen
    fault: Fault | None = None
    notices: tuple[Notice, ...] = ()  # what it waited for in vain
    library: str | None = None  # the name of the library that it lies in; then `path` begins with it


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of a picture from around it: its name, and the whole content of notes beside it."""

    xmp: bytes | None = None  # a caption may be merged into this file, and into the text
    text: bytes | None = None
    unread: frozenset[str] = frozenset()  # xmp, txt: those that are there but too large to be read
    takeout: tuple[bytes, ...] = ()  # the JSON files that came along; Google Takeout's hold a description
    name: str = ""  # as dropped; a description that only repeats it says nothing
    is_signed: bool = False  # a .c2pa beside it signs its bytes
    raw: RawNote | None = None


NO_NOTES = Notes()


Event = Literal["edited", "redone", "undone", "approved"]
FieldName = Literal["caption", "alt_text", "title", "keywords", "visible_text"]


@dataclass(frozen=True, slots=True)
class Texts:
    """What is said about a picture, ready to be written: what a model said, or a person in its place."""

    caption: str
    alt_text: str | None = None
    title: str | None = None
    keywords: tuple[str, ...] = ()
    keyword_paths: tuple[str, ...] = ()  # of the keywords in the user's keyword tree: animal|dog
    visible_text: str | None = None  # empty if the picture shows none; None if it was not asked for


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each of a person's texts may be; a text over its limit is refused, never cut."""

    caption: int | None = None  # characters, like all but the number of keywords
    alt_text: int = 250
    title: int = 250
    keywords: int = 100  # how many
    visible_text: int = 100_000


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """What is asked about a picture."""

    prompt: str
    max_new_tokens: int
    temperature: float = 0.0  # 0: the likeliest words, the same each time; more: others, by chance
    seed: int | None = None  # of that chance; None: another one each time
    schema: str | None = None  # JSON Schema that the answer must fit, if the captioner can enforce it
    server: str | None = None  # the address of the one to ask, if there are several


class Describe(Protocol):
    """Writes texts into an image of a format, and makes the files beside it, given those that lie there.

    `own` are former texts of ours: they are replaced wherever they stand, and no new file is made.
    """

    def __call__(
        self, data: bytes, format: str, texts: Texts, /, *, notes: Notes = ..., own: Texts | None = ...
    ) -> Described: ...


class Interview(Protocol):
    """Asks what the settings want to know about a picture, judges it, and asks again if that is worth it."""

    def __call__(self, ask_all: AskAll, facts: PictureFacts, /) -> Said: ...


# The interview about one text alone, if one is named; with another prompt for the caption; given these texts.
Narrowed = Callable[["FieldName | None", "str | None", Texts], Interview]


def _nothing(_: str) -> bool:
    return False


def _as_dropped(path: str, data: bytes, modified_ns: int, /) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about one picture: asked for when it is claimed, and kept until it is over."""

    interview: Interview
    describe: Describe
    max_pixels: int
    max_file_bytes: int
    attempts: int  # how often it is begun before it is set aside
    settle_seconds: float = 0.0  # how long the files that travel with it must be quiet
    takes_text: bool = False  # photo.txt travels with it
    xmp_on_stem: bool = False  # photo.xmp is made, not photo.jpg.xmp
    stays: Callable[[str], bool] = _nothing  # whether a file of the inbox never travels with a picture
    profile: str | None = None  # the name of the profile that these rules come from, if one matched
    skips_duplicates: bool = False  # the same file under the same path is delivered once
    questions: str = ""  # the same for the same questions about the same fields
    folder_of: Callable[[str, bytes, int], str | None] = _as_dropped  # in done/: of path, bytes, time
    limits: Limits = Limits()  # of what a person writes
    replaces: bool = False  # replace also what a person wrote into the picture
    prompts: Mapping[FieldName, str] = field(default_factory=dict)  # by text, the prompt that asks for it
    narrowed: Narrowed | None = None  # makes an interview about less, or by another prompt
    asks_anew: bool = False  # even if the cache has an answer about the same picture
    approve: Literal["never", "unsure", "all"] = "never"  # whose texts wait until a person approves them


Role = Literal["look", "edit", "drop"]  # what a user may do over HTTP: look, all, or only put files in


RulesOf = Callable[[str], Rules]  # by the path of a picture in the inbox


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed file: its bytes, read once through one descriptor, and the attempt that was counted."""

    id: str  # the same for the same path and bytes, so that a repeat after a crash meets its own traces
    path: str
    fingerprint: Fingerprint
    data: bytes = field(repr=False)
    sha256: str
    attempt: int
    noticed_at: float  # monotonic seconds
    claimed_at: float  # monotonic seconds
    rules: Rules = field(repr=False)
    notes: Notes = field(default=NO_NOTES, repr=False)
    notices: tuple[Notice, ...] = ()
    library: str | None = None  # as in SettledFile
    folder: str | None = None  # where it goes in done/; None: the folder that it was dropped in


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of a picture once its pixels are let go."""

    format: str  # as Pillow names it: JPEG, PNG, WEBP, TIFF, GIF, BMP, HEIF, AVIF
    width: int  # pixels, as stored in the file (before it was turned upright)
    height: int
    notices: tuple[Notice, ...] = ()
    luminance_mean: float | None = None  # of 255, over the whole picture
    luminance_spread: float | None = None  # its standard deviation


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright, in 8-bit RGB."""

    image: Image.Image
    facts: PictureFacts
    is_scaled: bool = False  # as the model would do it first


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model answers, and how it is run: what a sidecar says about its author."""

    id: str
    backend: str
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    served_as: str | None = None  # what the server says that it runs, if that is not `id`


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one question about a picture; empty if it had nothing to say."""

    text: str
    raw_output: str | None  # what the model said, if `text` was cleaned; else None
    model: ModelIdentity
    request: CaptionRequest
    prompt_tokens: int | None
    new_tokens: int | None
    finish_reason: str  # stop | length
    notices: tuple[Notice, ...] = ()
    has_thoughts: bool = False  # the model also gave its thoughts, apart from the text
    server: str | None = field(default=None, compare=False)  # the address of the one that answered


@dataclass(frozen=True, slots=True)
class Asked:
    """One field's question and what came of it."""

    field: FieldName
    answer: Answer  # the one that is delivered, as it is delivered
    tries: tuple[Answer, ...] = ()  # the others


@dataclass(frozen=True, slots=True)
class DroppedText:
    """A part of an answer that is not delivered, and why."""

    field: FieldName
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Said:
    """All that is said about a picture, and how it came about."""

    texts: Texts
    answer: Answer  # the caption's
    notices: tuple[Notice, ...] = ()
    asked: tuple[Asked, ...] = ()  # only if more than the caption was asked for, or more than once
    dropped: tuple[DroppedText, ...] = ()
    needs_look: bool = False  # by a person
    language: str | None = None  # the one that was asked for
    cached_from: str | None = None  # the file (its sha256) that the model was asked about instead


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer, and the file (its sha256) that was asked about."""

    answer: Answer
    source: str


AskAll = Callable[[Sequence[CaptionRequest]], "list[Answer | Rejected | TryLater]"]  # about one picture


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one place a caption could have been written to."""

    target: str  # e.g. exif:ImageDescription
    action: str  # wrote | kept | skipped | refused
    reason: str | None = None


@dataclass(frozen=True)  # without slots, since `cached_property` needs a __dict__
class Described:
    """An image's bytes after the caption was written into them (or the same bytes), and what was done.

    `xmp`, `text` and `raw_xmp` are the whole content of files beside it; None leaves what came along.
    """

    data: bytes = field(repr=False)
    written: tuple[Written, ...]
    previous_description: str | None = None  # what a replaced description said
    xmp: bytes | None = field(default=None, repr=False)
    text: bytes | None = field(default=None, repr=False)
    raw_xmp: bytes | None = field(default=None, repr=False)  # of the RAW that travels along
    shared_keywords: tuple[str, ...] = ()  # our keywords that the picture already had from a person

    @cached_property
    def sha256(self) -> str:
        """The checksum of the image's bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @classmethod
    def untouched(cls, data: bytes) -> Described:
        """An image whose texts wait for approval: nothing is written into it, or beside it."""
        return cls(data, ())


@dataclass(frozen=True, slots=True)
class Accompanied:
    """A file that came along with a picture, as it lies beside the delivered one."""

    name: str  # as dropped
    sha256: str
    size: int
    action: str  # moved | merged


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one picture spent in each stage."""

    queued: float
    decode: float
    caption: float
    publish: float  # writing the caption into the image's bytes and proving it, up to the first write to disk


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where an image lies now: in `done/` with its sidecar, or in `failed/` with its error."""

    path: str  # relative to the folder it was delivered to
    record: str  # the JSON beside it, relative to the same folder
    sha256: str  # of the image as it lies there
    folder: str  # done | failed
    dropped: str  # its path in the inbox
    dropped_sha256: str  # empty if the file was too large to be read whole
    is_duplicate: bool = False  # it was delivered before, and the same file came once more
    library: str | None = None  # the library in which it still lies, with its sidecar beside it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one picture when it left the inbox; its texts are valid Unicode."""

    path: str  # as dropped, relative to the inbox
    folder: str  # done | failed
    delivered: str  # relative to that folder
    at: datetime  # when the record beside it was made; aware, in UTC
    sha256: str | None = None  # as dropped
    caption: str | None = None
    fields: Mapping[str, str | list[str]] = field(default_factory=dict)  # the other texts, as in the sidecar
    needs_look: bool = False  # by a person
    awaits_approval: bool = False  # its texts stand in its sidecar alone
    warnings: tuple[str, ...] = ()  # their codes
    model: str | None = None
    kind: str | None = None  # why it failed: a stable word, as in `Rejected`
    message: str | None = None
    advice: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    timings: Timings | None = None
    attempts: int | None = None
    is_recovered: bool = False  # an earlier process had begun it: not this one's work
    event: Event | None = None  # how its texts changed later, in done/; None: it left the inbox
    library: str | None = None  # it was described, or failed, where it lies: in the library of this name


@dataclass(frozen=True, slots=True)
class Stamp:
    """When and by which version a record was made; passed in, so that composing one needs no clock."""

    created_at: datetime
    version: str
