"""Photoshop's image resources, of which one may hold IPTC, and another one a digest of that.

Adobe Photoshop File Formats Specification, "Image Resource Blocks".  All other resources keep their bytes.
By the digest Photoshop knows whether a program changed IPTC but not XMP (Metadata Working Group 2.0, 3.3.2):
a digest that was right is made right again, one that was wrong stays wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5
from typing import NamedTuple, Self

from .refusal import Refused

_SIGNATURE = b"8BIM"
_IPTC, _DIGEST = 0x0404, 0x0425


class Resource(NamedTuple):
    """One resource: what stands before its length, its bytes, its padding."""

    number: int
    head: bytes
    payload: bytes
    padding: bytes

    def laid(self) -> bytes:
        return b"".join((self.head, len(self.payload).to_bytes(4, "big"), self.payload, self.padding))

    def holding(self, payload: bytes) -> Resource:
        return self._replace(payload=payload, padding=bytes(len(payload) % 2))


@dataclass(frozen=True, slots=True)
class Resources:
    """All resources of a segment, and what pads it."""

    all: tuple[Resource, ...]
    padding: bytes

    @classmethod
    def read(cls, data: bytes) -> Self:
        resources = tuple(_resources(data))
        laid = b"".join(resource.laid() for resource in resources)
        if laid != data[: len(laid)] or data[len(laid) :].strip(b"\0"):
            raise Refused("it has garbage between its image resources")
        return cls(resources, data[len(laid) :])

    @property
    def iptc(self) -> bytes | None:
        return self._only(_IPTC)

    def with_iptc(self, block: bytes) -> bytes:
        """The resources with `block` for the IPTC that is there."""
        return b"".join(resource.laid() for resource in self._described(block)) + self.padding

    def prove(self, data: bytes, block: bytes) -> None:
        """Refuse `data` unless it is these resources except for IPTC, which is `block`, and its digest."""
        new = Resources.read(data)
        if new.iptc != block:
            raise Refused("the new IPTC does not read back")
        ours = (_IPTC, _DIGEST) if self._has_right_digest() else (_IPTC,)
        before, after = ([one for one in some.all if one.number not in ours] for some in (self, new))
        if before != after or new.padding != self.padding or new.all != tuple(self._described(block)):
            raise Refused("the image resources that were there would change")
        if new._has_right_digest() != self._has_right_digest():
            raise Refused("the digest of its IPTC would mean something else")

    def _described(self, block: bytes) -> Iterator[Resource]:
        digests = self._has_right_digest()
        for resource in self.all:
            if resource.number == _IPTC:
                yield resource.holding(block)
            elif resource.number == _DIGEST and digests:
                yield resource.holding(_digest(block))
            else:
                yield resource

    def _has_right_digest(self) -> bool:
        digest, iptc = self._only(_DIGEST), self.iptc
        return digest is not None and iptc is not None and digest == _digest(iptc)

    def _only(self, number: int) -> bytes | None:
        found = [resource.payload for resource in self.all if resource.number == number]
        if len(found) > 1:
            raise Refused("it has two IPTC blocks or digests of one")
        return found[0] if found else None


def _digest(block: bytes) -> bytes:
    return md5(block, usedforsecurity=False).digest()


def _resources(data: bytes) -> Iterator[Resource]:
    at = 0
    while data.startswith(_SIGNATURE, at):
        if at + 12 > len(data):
            raise Refused("its image resources are truncated")
        name_size = 1 + data[at + 6]
        size_at = at + 6 + name_size + name_size % 2
        size = int.from_bytes(data[size_at : size_at + 4], "big")
        start, end = size_at + 4, size_at + 4 + size
        if end > len(data):
            raise Refused("its image resources are truncated")
        padding = data[end : end + size % 2]
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        yield Resource(number, data[at:size_at], data[start:end], padding)
        at = end + len(padding)
