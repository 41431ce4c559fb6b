"""Where texts go, as the settings say: into the image, and into the .xmp and .txt beside it.  Pure.

A person's words in the files beside a picture count like those inside the image, and one decision holds for
all places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from captiond import formats, metadata
from captiond.formats import raw
from captiond.metadata import beside, policy
from captiond.metadata.beside import Wish
from captiond.metadata.heif import Place
from captiond.metadata.policy import ALT_TEXT, CAPTION, KEYWORDS, LISTS, TITLE, Said, together
from captiond.metadata.targets import AUTO
from captiond.metadata.xmp_words import names_remote_credentials
from captiond.records import NO_NOTES, Described, Notes, Texts, Written


@dataclass(frozen=True, slots=True)
class Describing:
    """A function of an image and its texts; equal objects do the same."""

    replaces: bool  # whether it replaces what a person wrote
    blocks: str | Collection[str]  # inside the image: exif, xmp, iptc; or auto
    place: Place | None
    xmp: str  # when photo.jpg.xmp is written: auto, always or never
    text: bool | str | None  # what photo.txt says: caption (or True), keywords, lines; None: no photo.txt
    windows: bool = False  # whether the tags of Windows' Explorer are written, too
    title_as: str = "title"  # where the title goes in XMP: title, headline or both

    def __call__(
        self,
        data: bytes,
        format: str,
        texts: Texts,
        /,
        *,
        notes: Notes = NO_NOTES,
        own: Texts | None = None,
    ) -> Described:
        """`own`: former texts of ours; if given, they are replaced in all places, and no new file is made.

        A file with a RAW's name is never written into, whatever it was decoded as.
        """
        format = formats.RAW.name if raw.has_ending(notes.name) else format
        judged = metadata.judge(
            data,
            format,
            texts,
            replace=self.replaces,
            windows=self.windows,
            beside=beside.said(notes),
            own=own,
            name=notes.name,
            is_signed=notes.is_signed or names_remote_credentials(notes.xmp or b""),
        )
        described = metadata.describe(
            data,
            format,
            texts,
            blocks=self.blocks,
            windows=self.windows,
            place=self.place,
            own=own,
            title_as=self.title_as,
            judged=judged,
        )
        wish = Wish(texts, own, self.replaces, judged.kept, judged.union, self.title_as)
        raw_xmp, raw_written = self._of_raw(wish, notes.raw)
        made = beside.compose(
            wish,
            described,
            xmp=self._when_xmp(judged, described, notes, texts, own),
            text=self._kind_of_text(notes, own),
            existing_xmp=notes.xmp,
            existing_text=notes.text,
        )
        return replace(
            described,
            written=described.written + made.written + raw_written,
            previous_description=together(described.previous_description, made.previous_description),
            xmp=made.xmp,
            text=made.text,
            raw_xmp=raw_xmp,
            shared_keywords=judged.union.shared,
        )

    def _of_raw(self, wish: Wish, note: raw.RawNote | None) -> tuple[bytes | None, tuple[Written, ...]]:
        """The .xmp of the RAW that travels along, if it has one already or must get one."""
        if note is None or note.shares or self.xmp == "never":
            return None, ()
        said = [one for one in beside.said_in_xmp(note.xmp) if not one.is_blank()]
        if wish.own is not None and not _is_said(wish.own, said):
            return None, ()
        return beside.of_raw(wish, note.xmp)

    def _when_xmp(
        self, judged: metadata.Judged, described: Described, notes: Notes, texts: Texts, own: Texts | None
    ) -> str:
        """When the .xmp is written: always if some place would otherwise still say something else."""
        if "xmp" in notes.unread:
            return "never"
        said = [one for one in beside.said_in_xmp(notes.xmp) if not one.is_blank()]
        if own is not None and notes.xmp is None:
            return "never"
        if own is not None and _is_said(own, said):
            return "always"
        if own is None and self.xmp == "auto" and notes.raw is not None and notes.raw.shares:
            return "always"
        if self.xmp != "auto" or self.blocks != AUTO:
            return self.xmp
        wanted = {field for field in (CAPTION, *_MORE) if getattr(texts, field) and not judged.keeps(field)}
        is_said = any((KEYWORDS if one.field in LISTS else one.field) in wanted for one in said)
        return "always" if is_said or metadata.unserved(judged, described.written) else self.xmp

    def _kind_of_text(self, notes: Notes, own: Texts | None) -> str | None:
        """What kind of text the .txt says; None for no .txt."""
        if "txt" in notes.unread:
            return None
        kind = "caption" if self.text is True else self.text or None
        if own is None or notes.text is None:
            return kind if own is None else None
        there = policy.clean(notes.text.decode(errors="replace"))
        kinds = (kind, "caption", "keywords", "lines") if kind else ("caption", "keywords", "lines")
        told = (one for one in kinds if there and there in beside.own_lines(own, one))
        return next(told, kind)


_MORE = (TITLE, ALT_TEXT, KEYWORDS)


def _is_said(own: Texts, said: Iterable[Said]) -> bool:
    """Does any of these say what we said before?"""
    keywords = set(map(policy.clean, own.keywords))
    for one in said:
        text = policy.clean(one.text or "")
        if one.field in LISTS:
            leaf = text.replace("/", "|").rpartition("|")[2].strip() if one.field != KEYWORDS else text
            if leaf in keywords:
                return True
        elif text and text == policy.clean(getattr(own, one.field) or ""):
            return True
    return False
