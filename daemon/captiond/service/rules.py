"""The rules for a picture, by its path; replaced as a whole when the settings are read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from captiond.exiftool import Exiftool
from captiond.inbox.ignore import Ignore
from captiond.metadata.describing import Describing
from captiond.metadata.taken import taken_at
from captiond.records import Rules, RulesOf
from captiond.service.questions import digest_of, interview_of, limits_of
from captiond.support.layout import AS_DROPPED, Layout
from captiond.support.patterns import Patterns

if TYPE_CHECKING:
    from captiond.settings import Settings
    from captiond.settings.schema import Output, Profile


def ignore_of(settings: Settings, library: str | None = None) -> Ignore:
    """Which files of the inbox stay there, by patterns and by profiles that skip theirs.

    For a `library` the patterns and profiles see paths that begin with its name.
    """
    profiles = [(Patterns(one.match), one) for one in settings.profiles]

    def skips(path: str) -> str | None:
        met = next((one for patterns, one in profiles if patterns.match(path) is not None), None)
        return f"your profile {met.name!r}, which skips its pictures" if met and met.skip else None

    asked = skips if any(one.skip for one in settings.profiles) else None
    return Ignore(settings.watch.ignore, asked, beneath=f"{library}/" if library is not None else "")


def urgent_of(settings: Settings) -> Callable[[str], bool]:
    """Which pictures of the inbox go before all others, by their paths."""
    patterns = Patterns(settings.watch.first)
    return lambda path: patterns.match(path) is not None


def _folder_of(pattern: str) -> Callable[[str, bytes, int], str | None]:
    if pattern == AS_DROPPED:
        return lambda path, data, modified_ns: None
    layout = Layout.of(pattern)
    return lambda path, data, modified_ns: layout.folder(
        taken_at(data) or _modified(modified_ns), path.rpartition("/")[0]
    )


def _modified(nanoseconds: int) -> datetime:
    """In local time, like a camera's own; 1970 if the time is outside the calendar."""
    try:
        return datetime.fromtimestamp(nanoseconds // 1_000_000_000)
    except (ValueError, OverflowError, OSError):
        return datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class _Book:
    """One reading of the settings: the first profile that matches a path counts, else the rules for all."""

    for_all: Rules
    profiles: tuple[tuple[Patterns, Rules], ...]

    def of(self, path: str) -> Rules:
        met = (rules for patterns, rules in self.profiles if patterns.match(path) is not None)
        return next(met, self.for_all)


class RuleBook:
    """Safe to ask from many threads; a picture keeps the rules it was given, also after a reload."""

    def __init__(self, settings: Settings, exiftool: Exiftool) -> None:
        self._exiftool = exiftool
        self._book = self._made_of(settings)
        self._beside = {xmp: self._made_of(settings, xmp) for xmp in (True, False)}

    def of(self, path: str) -> Rules:
        """The rules for the picture with this path in the inbox; "" for a picture without a path."""
        return self._book.of(path)

    def of_library(self, name: str, *, xmp: bool) -> RulesOf:
        """The rules for that library, by paths in it; `xmp`: whether an .xmp is written beside pictures."""
        return lambda path: self._beside[xmp].of(f"{name}/{path}")

    def take_over(self, settings: Settings) -> None:
        book = self._made_of(settings)
        self._beside = {xmp: self._made_of(settings, xmp) for xmp in (True, False)}
        self._book = book

    def _made_of(self, settings: Settings, beside_xmp: bool | None = None) -> _Book:
        """`beside_xmp`: for libraries, whose pictures keep their bytes: write an .xmp or not; None: inbox."""
        stays = ignore_of(settings)

        def rules(profile: Profile | None) -> Rules:
            output = (profile if profile is not None else settings).output
            title_as = (profile if profile is not None else settings).fields.title_as
            if beside_xmp is None:
                return self._rules(settings, stays, profile, self._within(output, title_as))
            beside = self._rules(settings, stays, profile, _beside(output, title_as, xmp=beside_xmp))
            return replace(beside, approve="never")  # nobody can approve texts there

        return _Book(rules(None), tuple((Patterns(one.match), rules(one)) for one in settings.profiles))

    def _within(self, output: Output, title_as: str) -> Describing:
        return Describing(
            replaces=output.description == "replace",
            blocks=output.metadata,
            place=self._exiftool.place if output.exiftool == "auto" else None,
            xmp=output.xmp_sidecar,
            text=output.text_sidecar,
            windows=output.windows,
            title_as=title_as,
        )

    def _rules(
        self, settings: Settings, ignore: Ignore, profile: Profile | None, describe: Describing
    ) -> Rules:
        sections, limits = profile if profile is not None else settings, settings.limits
        output = sections.output
        interview = interview_of(sections)
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
            folder_of=_folder_of(output.layout),
            skips_duplicates=output.duplicates == "skip",
            questions=digest_of(interview),
            limits=limits_of(sections),
            replaces=describe.replaces,
            prompts=interview.prompts,
            narrowed=interview.narrowed,
            approve=output.approve or "never",
        )


def _beside(output: Output, title_as: str, *, xmp: bool) -> Describing:
    """For libraries: nothing is written into the picture."""
    return Describing(
        replaces=output.description == "replace",
        blocks=(),
        place=None,
        xmp="always" if xmp and output.xmp_sidecar != "never" else "never",
        text=None,
        title_as=title_as,
    )
