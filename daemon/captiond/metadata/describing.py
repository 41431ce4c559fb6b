"""Where a caption goes, as the settings say: into the image, and into the .xmp and .txt beside it.  Pure.

This is where what came along with a picture meets the policy: a person's words in its .xmp count like those
inside the image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from captiond import metadata
from captiond.metadata import beside, policy
from captiond.metadata.heif import Place
from captiond.metadata.policy import together
from captiond.records import NO_NOTES, Described, Notes, Texts


@dataclass(frozen=True, slots=True)
class Describing:
    """A function of an image and its caption; two that are equal do the same."""

    replaces: bool  # what a person wrote makes way
    blocks: Collection[str]  # inside the image: exif, xmp, iptc
    place: Place | None
    xmp: str  # when photo.jpg.xmp is written: auto, always or never
    text: bool  # whether photo.txt is written

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
        """`own`: former texts of ours.  They make way wherever they are said, and no new file is made."""
        caption, former = texts.caption, () if own is None else (own.caption,)
        xmp, text = self.xmp, self.text
        if former:
            said = beside.descriptions(notes.xmp)
            xmp = "always" if _is_said(former, said) else xmp if notes.xmp is not None else "never"
            lines = () if notes.text is None else (notes.text.decode(errors="replace"),)
            text = _is_said(former, lines) or (text and notes.text is not None)
        described = metadata.describe(
            data,
            format,
            caption,
            replace=self.replaces,
            blocks=self.blocks,
            place=self.place,
            beside=beside.descriptions(notes.xmp),
            own=former,
        )
        made = beside.compose(
            caption,
            described,
            xmp="never" if "xmp" in notes.unread else xmp,
            text=text and "txt" not in notes.unread,
            replace=self.replaces,
            existing_xmp=notes.xmp,
            existing_text=notes.text,
            own=former,
        )
        return replace(
            described,
            written=described.written + made.written,
            previous_description=together(described.previous_description, made.previous_description),
            xmp=made.xmp,
            text=made.text,
        )


def _is_said(own: Collection[str], said: Iterable[str]) -> bool:
    ours = set(map(policy.clean, own))
    return any(policy.clean(one) in ours for one in said)
