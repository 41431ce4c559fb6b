"""Small upright JPEGs of whatever `pictures` can decode, made when they are asked for and kept for a while.

Callers read the files; nothing is written, and the cache is bounded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from captiond.encoded import JpegWish
from captiond.errors import Rejected
from captiond.pictures.pool import Decoders, How
from captiond.records import Fingerprint, RulesOf
from captiond.support.cores import cores

SIDE_PIXELS = 320
QUALITY = 82
KEPT_BYTES = 32 * 1024 * 1024
# Half of the cores: pictures that wait for their captions are decoded meanwhile, and come first.
DECODING_TOGETHER = max(1, cores() // 2)


class Thumbnails:
    """Safe to call from many threads."""

    def __init__(self, decoders: Decoders, rules_of: RulesOf) -> None:
        self._decoders = decoders
        self._rules_of = rules_of
        self._decoding = threading.BoundedSemaphore(DECODING_TOGETHER)
        self._keeping = threading.Lock()
        self._kept: OrderedDict[tuple[Fingerprint, int], bytes] = OrderedDict()
        self._kept_bytes = 0

    def of(self, fingerprint: Fingerprint, read: Callable[[], bytes], side: int = SIDE_PIXELS) -> bytes:
        """A JPEG of the file with this fingerprint, with `side` pixels on its long side at most.

        Raises: Rejected, if it cannot be decoded.
        """
        key = fingerprint, side
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        rules = self._rules_of("")
        if fingerprint.size > rules.max_file_bytes:
            raise Rejected("too_large", "the file is larger than limits.max_file_bytes", stage="decode")
        with self._decoding:
            # It is decoded at no less than twice its side, so that the rest of the way is finely averaged.
            wish = JpegWish(longest_side=side, least_side=2 * side, quality=QUALITY)
            thumbnail = self._decoders.encoded(read(), wish, How(rules.max_pixels)).jpeg
        self._keep(key, thumbnail)
        return thumbnail

    def _keep(self, key: tuple[Fingerprint, int], thumbnail: bytes) -> None:
        with self._keeping:
            self._kept_bytes += len(thumbnail) - len(self._kept.pop(key, b""))
            self._kept[key] = thumbnail
            while self._kept_bytes > KEPT_BYTES:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= len(oldest)
