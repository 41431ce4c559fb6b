"""Commands about pictures that were delivered: again, back, out and in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from captiond.cli.given import config_option, configure_logs, settings_of
from captiond.cli.say import say, say_json, say_lines, say_raw
from captiond.commands.manual import duration
from captiond.errors import ExitCode, NotThere, TryLater
from captiond.records import FieldName

if TYPE_CHECKING:
    from captiond.records import Notice

_FIELDS = click.Choice(list(get_args(FieldName)))


def _beneath(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """A folder beneath done/ or in a library; none for all of them."""
    from captiond.names import checked_path

    parts = [part for part in (value or "").split("/") if part not in ("", ".")]
    start = "/" if (value or "").startswith("/") else ""  # the whole path of such a folder
    try:
        return start + checked_path("/".join(parts)) if parts else ""
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no folder beneath the done folder") from error


under_option = click.option(
    "--under",
    metavar="FOLDER",
    callback=_beneath,
    help="Only what lies there: beneath the done folder, or LIBRARY, or LIBRARY/FOLDER.",
)


@click.command()
@config_option
@click.option("--made-by", metavar="MODEL[@REVISION]", help="Only what this model said.")
@click.option("--prompt-changed", is_flag=True, help="Only what was asked by other words than now.")
@click.option("--older-than", metavar="TIME", callback=duration, help="Only what was said before, e.g. 30d.")
@click.option("--missing", type=_FIELDS, help="Only where there is no such text.")
@click.option("--field", type=_FIELDS, help="Ask for this text alone; the others stay.")
@click.option("--needs-look", is_flag=True, help="Only what a person should look at.")
@under_option
@click.option("--edited", is_flag=True, help="Also what a person has changed or approved.")
@click.option("--yes", is_flag=True, help="Do it; without this, only count.")
@click.option("--list", "lists", is_flag=True, help="Show what waits, and what was left out and why.")
@click.option("--cancel", metavar="ID", help="Take a list back.")
def redo(config: Path | None, yes: bool, lists: bool, cancel: str | None, **given: Any) -> ExitCode:
    """Describe pictures again, by the present settings: those in the done folder, and those in libraries.

    Without filters it means all; several must all hold.  It counts and estimates unless --yes is said.  The
    daemon does it behind new pictures, and `captiond undo` puts former texts back.
    """
    from captiond.commands import redo as again
    from captiond.redo.filters import Filters

    if cancel is not None and (lists or yes):
        raise click.UsageError("--cancel goes alone")
    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    if cancel is not None:
        try:
            say(again.cancel(settings, cancel))
        except NotThere as gone:
            say(gone.message, to_errors=True)
            return ExitCode.SOME_FAILED
    elif lists:
        say_lines(again.listed(settings))
    else:
        older = given.pop("older_than")
        filters = Filters(older_than_seconds=older, **given)
        with _one_meaning():
            chosen = again.planned(settings, filters, Path.cwd())
        said = _as_typed({**given, "older_than": f"{older:g}s" if older is not None else None})
        say_lines(again.begin(settings, filters, chosen, said) if yes else again.lines(settings, chosen))
    return ExitCode.OK


def _as_typed(given: dict[str, Any]) -> str:
    """The options, for whoever looks at the list later."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in given.items() if value}
    return " ".join(flag if value is True else f"{flag} {value}" for flag, value in flags.items())


@click.command()
@click.argument("path")
@config_option
def undo(path: str, config: Path | None) -> ExitCode:
    """Put the former texts of a picture back: before the last edit, import, redo or approval.

    PATH is a file in the done folder, or its path beneath it; or one in a library, or LIBRARY/PATH.  The
    daemon may run meanwhile.
    """
    from captiond.commands import undo as back

    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    try:
        with _one_meaning():
            named, caption = back.put_back(settings, path, Path.cwd(), _warn)
    except NotThere:
        libraries = " or a library" if settings.libraries else ""
        say(f"{path}: no such captioned picture in {settings.folders.done}{libraries}", to_errors=True)
        return ExitCode.SOME_FAILED
    except TryLater as later:
        say(f"{path}: {later.message}", to_errors=True)
        return ExitCode.SOME_FAILED
    say(f"{named}: {caption}")
    return ExitCode.OK


@click.command()
@click.argument("paths", nargs=-1)
@config_option
@click.option("--made-by", metavar="MODEL[@REVISION]", help="Only what this model said.")
@click.option("--older-than", metavar="TIME", callback=duration, help="Only what was said before, e.g. 30d.")
@click.option("--needs-look", is_flag=True, help="Only what a person should look at.")
@under_option
@click.option("--by", metavar="NAME", help="Who approves; the sidecars note it.")
@click.option("--yes", is_flag=True, help="Do it; without this and PATHs, only tell what waits.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a picture.")
def approve(
    paths: tuple[str, ...], config: Path | None, by: str | None, yes: bool, as_json: bool, **given: Any
) -> ExitCode:
    """Write texts that wait for approval into their pictures.

    PATHs are files in the done folder, or paths beneath it.  Without any it means all that wait, or those
    that meet the filters, and tells them unless --yes is said.  The daemon may run meanwhile.
    """
    from captiond.commands import approve as approving
    from captiond.redo.filters import Filters

    older = given.pop("older_than")
    if paths and (any(given.values()) or older is not None):
        raise click.UsageError("name pictures or filter them, not both")
    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    if paths:
        chosen = approving.named(settings, paths, Path.cwd())
    else:
        chosen = [*approving.waiting(settings, Filters(older_than_seconds=older, **given))]
    is_dry = not (paths or yes)
    counted: Counter[str] = Counter()
    for told in chosen if is_dry else approving.written(settings, chosen, by, _warn):
        counted[told.state] += 1
        if as_json:
            say_json(told.as_json())
        else:
            say(str(told), to_errors=told.state == "refused")
    if not as_json:
        say(_counted(counted, is_dry=is_dry))
    return ExitCode.SOME_FAILED if counted["refused"] else ExitCode.OK


def _counted(counted: Counter[str], *, is_dry: bool) -> str:
    refused = f"  {counted['refused']:,} cannot be approved." if counted["refused"] else ""
    if not is_dry:
        return f"Approved: {counted['approved']:,}.{refused}"
    hint = "  Name some to approve them, or all with --yes." if counted["waiting"] else ""
    return f"Waiting for approval: {counted['waiting']:,}.{hint}{refused}"


@click.command()
@config_option
@click.option("--format", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@under_option
def export(config: Path | None, format: str, under: str) -> ExitCode:
    """Print the texts of all described pictures as a table, to look through or to correct.

    CSV is for spreadsheets: save it as CSV in UTF-8 again.  `captiond import` takes corrections back.
    """
    from captiond.commands import export as out

    left_out: list[str] = []
    with _one_meaning():
        say_raw(out.lines(settings_of(config), format, under, Path.cwd(), left_out.append))
    for reason in left_out:
        say(f"Left out: {reason}.", to_errors=True)
    return ExitCode.SOME_FAILED if left_out else ExitCode.OK


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.option("--yes", is_flag=True, help="Do it; without this, only tell.")
def bring_in(file: Path, config: Path | None, yes: bool) -> ExitCode:
    """Take corrections back from an exported table: what is another text there becomes a person's.

    A line is refused if its picture or texts were changed since they went out.
    """
    from captiond.commands import bring_in as back
    from captiond.table import Unreadable

    settings = settings_of(config)
    configure_logs(settings, quieter=True)
    changed = refused = 0
    try:
        for told in back.brought(settings, file, is_dry=not yes, warn=_warn):
            refused += told.refused is not None
            changed += told.refused is None
            say(str(told), to_errors=told.refused is not None)
    except (Unreadable, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} is no table that `captiond export` has made: {error}") from error
    what = "were changed" if yes else "would be changed; nothing was, say it again with --yes"
    say(f"{changed:,} pictures {what}." + (f"  {refused:,} lines were refused." if refused else ""))
    return ExitCode.SOME_FAILED if refused else ExitCode.OK


@contextmanager
def _one_meaning() -> Iterator[None]:
    """Raises: UsageError, if a path means two things."""
    from captiond.commands.places import Ambiguous

    try:
        yield
    except Ambiguous as ambiguous:
        raise click.UsageError(str(ambiguous)) from ambiguous


def _warn(notice: Notice) -> None:
    say(notice.message, to_errors=True)
