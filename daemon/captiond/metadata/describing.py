"""Where a caption goes, as the settings say: into the image, and into the .xmp and .txt beside it.  Pure.

This is where what came along with a picture meets the policy: a person's words beside it count like those
inside the image, and what is decided holds for all its places.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from captiond import metadata
from captiond.metadata import beside, policy
from captiond.metadata.heif import Place
from captiond.metadata.policy import together
from captiond.metadata.targets import AUTO
from captiond.metadata.xmp_words import names_remote_credentials
from captiond.records import NO_NOTES, Described, Notes, Texts


@dataclass(frozen=True, slots=True)
class Describing:
    """A function of an image and its texts; two that are equal do the same."""

    replaces: bool  # what a person wrote makes way
    blocks: str | Collection[str]  # inside the image: exif, xmp, iptc; or auto
    place: Place | None
    xmp: str  # when photo.jpg.xmp is written: auto, always or never
    text: bool  # whether photo.txt is written
    windows: bool = False  # whether the tags of Windows' Explorer are written, too

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
        former = () if own is None else (own.caption,)
        judged = metadata.judge(
            data,
            format,
            texts.caption,
            replace=self.replaces,
            windows=self.windows,
            beside=beside.said(notes),
            own=former,
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
            judged=judged,
        )
        made = beside.compose(
            texts.caption,
            described,
            xmp=self._when_xmp(judged, described, notes, former),
            text=self._wants_text(notes, former),
            replace=self.replaces,
            existing_xmp=notes.xmp,
            existing_text=notes.text,
            own=former,
            keeps=judged.keeps(),
        )
        return replace(
            described,
            written=described.written + made.written,
            previous_description=together(described.previous_description, made.previous_description),
            xmp=made.xmp,
            text=made.text,
        )

    def _when_xmp(
        self, judged: metadata.Judged, described: Described, notes: Notes, own: Collection[str]
    ) -> str:
        """When the .xmp is written: always if it is one of the places that go on saying something else."""
        if "xmp" in notes.unread:
            return "never"
        said = [one.text or "" for one in beside.descriptions(notes.xmp) if not one.is_blank()]
        if own and _is_said(own, said):
            return "always"
        if own and notes.xmp is None:
            return "never"
        if self.xmp != "auto" or self.blocks != AUTO or judged.keeps():
            return self.xmp
        return "always" if said or metadata.unserved(judged, described.written) else self.xmp

    def _wants_text(self, notes: Notes, own: Collection[str]) -> bool:
        if "txt" in notes.unread:
            return False
        if not own:
            return self.text
        lines = () if notes.text is None else (notes.text.decode(errors="replace"),)
        return _is_said(own, lines) or (self.text and notes.text is not None)


def _is_said(own: Collection[str], said: Iterable[str]) -> bool:
    ours = set(map(policy.clean, own))
    return any(policy.clean(one) in ours for one in said)
