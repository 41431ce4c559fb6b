"""The JSON beside a delivered picture, as a value: composed once, changed by `replace`, encoded once.

Pure.  The record is also delivery's redo record, so it holds what is needed to finish a delivery without the
model: the path, the two checksums, the texts and the format.  No lone surrogate and no NaN gets into its
JSON, whether it came from a file name, a model or a server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from captiond.names import name_keys, utc_text
from captiond.records import Accompanied, Delivered, Described, Outcome, Texts, Timings, Written
from captiond.sidecar import checked
from captiond.sidecar.plain import as_json, plain

CAPTION_SUFFIX = ".caption.json"
ERROR_SUFFIX = ".error.json"
SUFFIXES = {"done": CAPTION_SUFFIX, "failed": ERROR_SUFFIX}

CAPTION_SCHEMA = "captiond/caption"
ERROR_SCHEMA = "captiond/error"
VERSION = 1
# One order of keys for both kinds of record, so that two runs of the same image can be compared line by line.
_ORDER = (
    "schema", "schema_version", "kind", "message", "stage", "advice", "caption", "language", "fields",
    "edited", "source", "published", "companions", "model", "prompt", "generation", "raw_output", "asked",
    "dropped", "needs_look", "accepted", "approval", "cached_from", "written", "previous_description",
    "shared_keywords", "warnings", "profile", "library", "timings_seconds", "attempts", "created_at",
    "generator", "before_approval", "history",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """The file as it was dropped."""

    path: str  # relative to the inbox
    sha256: str  # empty if the file failed and is too large to be read whole
    size: int  # bytes
    modified_at: str | None  # as text, as in the JSON
    format: str | None = None  # only captioned pictures have it, and width and height
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """A person has changed a text."""

    at: datetime | None
    model_caption: str | None  # the model's own caption, however often a person changed it
    # The model's own versions of the other texts that a person changed; None: the model gave no such text.
    model_fields: Mapping[str, str | list[str] | None] = field(default_factory=dict)
    by: str | None = None  # the person's name, if it is known


@dataclass(frozen=True, slots=True)
class Record:
    """What lies beside a picture in done/ or in failed/."""

    source: Source
    texts: Texts | None  # None: the picture failed
    published_sha256: str
    written: tuple[Written, ...] = ()
    previous_description: str | None = None
    companions: tuple[Accompanied, ...] = ()
    edited: Edited | None = None
    history: tuple[Mapping[str, Any], ...] = ()  # former texts, the latest last; see `rewriting`
    shared_keywords: tuple[str, ...] = ()  # of `texts`, those that the picture had before we came
    rest: Mapping[str, Any] = field(default_factory=dict)  # all other keys, another program's too

    @property
    def path(self) -> str:
        return self.source.path

    @property
    def caption(self) -> str | None:
        return self.texts.caption if self.texts is not None else None

    @property
    def model(self) -> str | None:
        """The id of the model that gave the texts."""
        return checked.text(checked.mapping(self.rest.get("model")).get("id"))

    @property
    def message(self) -> str | None:
        """Why it failed, for people."""
        return checked.text(self.rest.get("message"))

    @property
    def advice(self) -> str | None:
        return checked.text(self.rest.get("advice"))

    @property
    def needs_look(self) -> bool:
        """Whether a person should look at the texts."""
        return self.rest.get("needs_look") is True

    @property
    def awaits_approval(self) -> bool:
        """Whether the texts stand here alone, and picture and companions are as they were dropped."""
        return self._approval == "waiting"

    @property
    def is_approved(self) -> bool:
        """Whether a person has approved the texts, or changed them, before any stood in the picture."""
        return self._approval == "approved"

    @property
    def _approval(self) -> object:
        return checked.mapping(self.rest.get("approval")).get("state")

    @property
    def is_rewritten(self) -> bool:
        """Whether its texts were changed or approved since it was delivered."""
        return self.edited is not None or bool(self.history) or "before_approval" in self.rest

    @property
    def suffix(self) -> str:
        return ERROR_SUFFIX if self.texts is None else CAPTION_SUFFIX

    def described(self, described: Described) -> Record:
        """The record with the same texts, after they were written into the image once more."""
        return replace(
            self,
            published_sha256=described.sha256,
            written=described.written,
            previous_description=described.previous_description,
            shared_keywords=described.shared_keywords,
        )

    def laid_first(self, described: Described, merged: Mapping[str, bytes]) -> Record:
        """The record after its texts, which had waited for approval, were written into the picture.

        `merged`: as for `laid_anew`.
        """
        companions = tuple(_merged(one, merged.get(one.name)) for one in self.companions)
        return replace(self.described(described), companions=companions)

    def taken_out(self, image: bytes, unmerged: Mapping[str, bytes]) -> Record:
        """The record of a picture that is as it was dropped again: this `image`.

        `unmerged`: the former content of companions, by their names as dropped.
        """
        companions = tuple(
            replace(one, sha256=_sha256(former), size=len(former), action="moved")
            if (former := unmerged.get(one.name)) is not None
            else one
            for one in self.companions
        )
        return replace(self.described(Described.untouched(image)), companions=companions)

    def accompanied(self, companions: tuple[Accompanied, ...]) -> Record:
        return replace(self, companions=companions)

    def laid_anew(self, described: Described, merged: Mapping[str, bytes], former: Texts) -> Record:
        """The record after its texts replaced our `former` ones in the delivered picture.

        It keeps the model's own caption, however often the texts are changed.
        `merged`: the new content of companions, by their names as dropped.
        """
        known = (self.previous_description or "").splitlines()
        lines = (described.previous_description or "").splitlines()
        theirs = [line for line in lines if line not in known and line != former.caption]
        return replace(
            self.described(replace(described, previous_description="\n".join([*known, *theirs]) or None)),
            companions=tuple(_merged(one, merged.get(one.name)) for one in self.companions),
        )

    def outcome(self, delivered: Delivered, otherwise_at: datetime) -> Outcome:
        """What became of the picture, from what its record says."""
        timings = checked.mapping(self.rest.get("timings_seconds"))
        stages = [checked.number(timings.get(key)) for key in ("queued", "decode", "caption", "publish")]
        codes = [checked.text(one.get("code")) for one in checked.items(self.rest.get("warnings"))]
        return Outcome(
            path=delivered.dropped,
            folder=delivered.folder,
            delivered=delivered.path,
            at=checked.moment(self.rest.get("created_at")) or otherwise_at,
            sha256=delivered.dropped_sha256 or None,
            caption=plain(self.caption),
            fields=plain(fields_of(self.texts)) if self.texts is not None else {},
            needs_look=self.needs_look,
            awaits_approval=self.awaits_approval,
            warnings=tuple(code for code in codes if code is not None),
            model=self.model,
            kind=checked.text(self.rest.get("kind")),
            message=self.message,
            advice=self.advice,
            format=self.source.format,
            width=self.source.width,
            height=self.source.height,
            timings=Timings(*[one for one in stages if one is not None]) if None not in stages else None,
            attempts=checked.count(self.rest.get("attempts")),
            library=delivered.library,
        )

    def encoded(self) -> bytes:
        """UTF-8 JSON, indented."""
        return as_json(self.keys())

    def keys(self) -> dict[str, Any]:
        """All that the JSON says, in its order."""
        told = {**self._head(), **self._texts(), **self.rest, "source": self._source(), **self._laid()}
        ordered = {key: told[key] for key in _ORDER if key in told}
        return ordered | told  # keys that are not in the order are another program's, and come last

    def _head(self) -> dict[str, Any]:
        schema = ERROR_SCHEMA if self.texts is None else CAPTION_SCHEMA
        return {"schema": schema, "schema_version": VERSION}

    def _texts(self) -> dict[str, Any]:
        if self.texts is None:
            return {}
        fields = fields_of(self.texts)
        return {"caption": self.texts.caption} | ({"fields": fields} if fields else {})

    def _source(self) -> dict[str, Any]:
        source = self.source
        facts = {"format": source.format, "width": source.width, "height": source.height}
        return {
            **name_keys("name", source.path.rpartition("/")[2]),
            **name_keys("path", source.path),
            "sha256": source.sha256 or None,
            "bytes": source.size,
            "modified_at": source.modified_at,
            **(facts if self.texts is not None else {}),
        }

    def _laid(self) -> dict[str, Any]:
        if self.texts is None:
            return {}
        laid: dict[str, Any] = {
            "published": {"sha256": self.published_sha256},
            "written": [_written(one) for one in self.written],
        }
        if self.previous_description is not None:
            laid["previous_description"] = self.previous_description
        if self.companions:
            laid["companions"] = [_companion(one) for one in self.companions]
        if self.shared_keywords:
            laid["shared_keywords"] = list(self.shared_keywords)
        if self.edited is not None:
            laid["edited"] = edited_keys(self.edited)
        if self.history:
            laid["history"] = list(self.history)
        return laid


def edited_keys(edited: Edited) -> dict[str, Any]:
    """What the JSON says of a person's change."""
    return {
        "at": utc_text(edited.at) if edited.at is not None else None,
        **({} if edited.by is None else {"by": edited.by}),
        "model_caption": edited.model_caption,
        **({"model_fields": dict(edited.model_fields)} if edited.model_fields else {}),
    }


def fields_of(texts: Texts) -> dict[str, str | list[str]]:
    """What is said beside the caption, by the names that other programs get."""
    told: dict[str, str | list[str] | None] = {
        "alt_text": texts.alt_text,
        "title": texts.title,
        "keywords": list(texts.keywords) or None,
        "keyword_paths": list(texts.keyword_paths) or None,
        "visible_text": texts.visible_text,
    }
    return {name: value for name, value in told.items() if value is not None}


def _merged(companion: Accompanied, content: bytes | None) -> Accompanied:
    if content is None:
        return companion
    return replace(companion, sha256=_sha256(content), size=len(content), action="merged")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _written(one: Written) -> dict[str, str]:
    told = {"target": one.target, "action": one.action}
    return told if one.reason is None else {**told, "reason": one.reason}


def _companion(one: Accompanied) -> dict[str, Any]:
    return {**name_keys("name", one.name), "sha256": one.sha256, "bytes": one.size, "action": one.action}
