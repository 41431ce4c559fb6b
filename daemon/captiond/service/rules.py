"""What the settings say about a picture, by its path; replaced as a whole when they are read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captiond.exiftool import Exiftool
from captiond.inbox.ignore import Ignore
from captiond.metadata.describing import Describing
from captiond.records import CaptionRequest, Rules

if TYPE_CHECKING:
    from captiond.settings import Settings


def request_of(settings: Settings) -> CaptionRequest:
    return CaptionRequest(settings.caption.prompt, settings.caption.max_new_tokens)


class RuleBook:
    """Safe to ask from many threads: each picture keeps the rules that it was given."""

    def __init__(self, settings: Settings, exiftool: Exiftool) -> None:
        self._exiftool = exiftool
        self._rules = self._made_of(settings)

    def of(self, path: str) -> Rules:
        """For the picture with this path in the inbox."""
        return self._rules

    def take_over(self, settings: Settings) -> None:
        self._rules = self._made_of(settings)

    def _made_of(self, settings: Settings) -> Rules:
        output, limits = settings.output, settings.limits
        describe = Describing(
            replaces=output.description == "replace",
            blocks=output.metadata,
            place=self._exiftool.place if output.exiftool == "auto" else None,
            xmp=output.xmp_sidecar,
            text=output.text_sidecar,
            windows=output.windows,
        )
        return Rules(
            request=request_of(settings),
            describe=describe,
            max_pixels=limits.max_pixels,
            max_file_bytes=limits.max_file_bytes,
            attempts=limits.attempts,
            settle_seconds=settings.watch.settle_seconds,
            takes_text=output.text_sidecar,
            xmp_on_stem=output.xmp_sidecar_name == "stem",
            skips_duplicates=output.duplicates == "skip",
            stays=Ignore(settings.watch.ignore).is_asked_for,
        )
