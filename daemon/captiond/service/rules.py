"""What the settings say about a picture, by its path; replaced as a whole when they are read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from captiond.exiftool import Exiftool
from captiond.inbox.ignore import Ignore
from captiond.metadata.describing import Describing
from captiond.records import Rules
from captiond.service.questions import interview_of, limits_of
from captiond.support.patterns import Patterns

DEMO = "demo"  # a model that knows captions alone

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.schema import Profile


def ignore_of(settings: Settings) -> Ignore:
    """Which files of the inbox stay there, by patterns and by profiles that skip theirs."""
    profiles = [(Patterns(one.match), one) for one in settings.profiles]

    def skips(path: str) -> str | None:
        met = next((one for patterns, one in profiles if patterns.match(path) is not None), None)
        return f"your profile {met.name!r}, which skips its pictures" if met and met.skip else None

    return Ignore(settings.watch.ignore, skips if any(one.skip for one in settings.profiles) else None)


@dataclass(frozen=True, slots=True)
class _Book:
    """One reading of the settings: the first profile that a path meets counts, else the rules for all."""

    for_all: Rules
    profiles: tuple[tuple[Patterns, Rules], ...]

    def of(self, path: str) -> Rules:
        met = (rules for patterns, rules in self.profiles if patterns.match(path) is not None)
        return next(met, self.for_all)


class RuleBook:
    """Safe to ask from many threads: each picture keeps the rules that it was given."""

    def __init__(self, settings: Settings, exiftool: Exiftool) -> None:
        self._exiftool = exiftool
        self._book = self._made_of(settings)

    def of(self, path: str) -> Rules:
        """For the picture with this path in the inbox; "" for one that has none."""
        return self._book.of(path)

    def take_over(self, settings: Settings) -> None:
        self._book = self._made_of(settings)

    def _made_of(self, settings: Settings) -> _Book:
        stays = ignore_of(settings)
        profiles = ((Patterns(one.match), self._rules(settings, stays, one)) for one in settings.profiles)
        return _Book(self._rules(settings, stays, None), tuple(profiles))

    def _rules(self, settings: Settings, ignore: Ignore, profile: Profile | None) -> Rules:
        sections, limits = profile if profile is not None else settings, settings.limits
        output = sections.output
        describe = Describing(
            replaces=output.description == "replace",
            blocks=output.metadata,
            place=self._exiftool.place if output.exiftool == "auto" else None,
            xmp=output.xmp_sidecar,
            text=output.text_sidecar,
            windows=output.windows,
            title_as=sections.fields.title_as,
        )
        interview = interview_of(sections, is_demo=settings.model.id == DEMO)
        return Rules(
            interview=interview,
            describe=describe,
            max_pixels=limits.max_pixels,
            max_file_bytes=limits.max_file_bytes,
            attempts=limits.attempts,
            settle_seconds=settings.watch.settle_seconds,
            takes_text=bool(output.text_sidecar),
            xmp_on_stem=output.xmp_sidecar_name == "stem",
            stays=ignore.is_asked_for,
            profile=profile.name if profile is not None else None,
            skips_duplicates=output.duplicates == "skip",
            limits=limits_of(sections),
            replaces=describe.replaces,
            prompts=interview.prompts,
            narrowed=interview.narrowed,
        )
