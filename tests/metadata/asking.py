"""Asking the room for a caption, and what every answer must be like."""

from __future__ import annotations

from typing import Any

from captiond import metadata
from captiond.metadata import TARGET, XMP_TARGET
from captiond.metadata.policy import Said
from captiond.records import Described, Texts, Written

from .independent import pillow_description, pixels
from .making import CAPTION


def describe(data: bytes, format: str, caption: str, *, beside: object = (), **options: Any) -> Described:
    """The room's answer for a picture that gets a caption alone; `beside` may be plain words."""
    said = [one if isinstance(one, Said) else Said("xmp-sidecar", one) for one in beside]  # type: ignore[attr-defined]
    return metadata.describe(data, format, Texts(caption), beside=said, **options)


def written(data: bytes, format: str, caption: str = CAPTION, *, replace: bool = False) -> Described:
    """The answer, which must be that the caption was written: the same pixels, read back, the same again."""
    described = describe(data, format, caption, replace=replace)
    assert described.written == (Written(TARGET, "wrote"),), described.written
    assert pillow_description(described.data) == caption
    assert pixels(described.data) == pixels(data)
    assert describe(described.data, format, caption, replace=replace) == Described(
        described.data, described.written
    )
    return described


def written_with_xmp(data: bytes, format: str, caption: str = CAPTION, *, replace: bool = False) -> Described:
    """The answer, which must be that both were written: the same pixels, read back, the same again."""
    blocks = ("exif", "xmp")
    described = describe(data, format, caption, replace=replace, blocks=blocks)
    assert described.written == (Written(TARGET, "wrote"), Written(XMP_TARGET, "wrote")), described.written
    assert pillow_description(described.data) == caption
    assert pixels(described.data) == pixels(data)
    again = describe(described.data, format, caption, replace=replace, blocks=blocks)
    assert again.data is described.data
    assert again.written == described.written
    return described


def xmp_refused(data: bytes, format: str) -> str:
    """The reason why XMP was not written, even though EXIF was, and a description might be replaced."""
    described = describe(data, format, CAPTION, replace=True, blocks=("exif", "xmp"))
    exif, xmp = described.written
    assert exif == Written(TARGET, "wrote")
    assert described.data == describe(data, format, CAPTION, replace=True).data
    assert (xmp.target, xmp.action) == (XMP_TARGET, "refused")
    assert xmp.reason
    assert "unexpected" not in xmp.reason
    return xmp.reason


def kept(data: bytes, format: str, *, replace: bool = False) -> str:
    """The reason why the description that is there was kept, with the very same bytes."""
    return _untouched(data, format, CAPTION, "kept", replace=replace)


def refused(data: bytes, format: str, caption: str = CAPTION) -> str:
    """The reason why nothing was written, even though a description might be replaced."""
    return _untouched(data, format, caption, "refused", replace=True)


def _untouched(data: bytes, format: str, caption: str, action: str, *, replace: bool) -> str:
    described = describe(data, format, caption, replace=replace)
    assert described.data is data
    assert described.previous_description is None
    (one,) = described.written
    assert (one.target, one.action) == (TARGET, action)
    assert one.reason
    assert "unexpected" not in one.reason
    return one.reason
