"""How the command line describes itself: the list of `--help`, and the manual page.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from captiond import __version__

FILES = (
    (
        "./captiond.yaml, /etc/captiond/captiond.yaml",
        "The settings; $CAPTIOND_CONFIG or -c name another file.",
    ),
    ("inbox/, done/, failed/, state/", "The four folders of the settings; pictures go into the first."),
)


class Commands(click.Group):
    """Lists each command with its whole first sentence: click would cut it off at the end of the line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, " ".join((command.help or "").split("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """What an option's TIME is in seconds: a number and s, m, h or d."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])", value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a number and s, m, h or d, e.g. 90s or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]]


def completion(app: click.Group, shell: str) -> str:
    """The script by which bash, zsh or fish completes what is typed."""
    from click.shell_completion import get_completion_class

    shell_complete = get_completion_class(shell)
    assert shell_complete is not None  # click has had these three since 8.0
    return shell_complete(app, {}, "captiond", "_CAPTIOND_COMPLETE").source()


def page(app: click.Group) -> str:
    """captiond(1)."""
    context = click.Context(app, info_name="captiond")
    lines = [
        f'.TH CAPTIOND 1 "" "captiond {__version__}" "User Commands"',
        ".SH NAME",
        f"captiond \\- {_text(_first_sentence(app.help or ''))}",
        ".SH SYNOPSIS",
        ".B captiond",
        ".I COMMAND",
        "[OPTIONS] [ARGUMENTS]",
        ".SH COMMANDS",
    ]
    lines += _commands(app, context)
    lines += [".SH FILES"]
    for path, meaning in FILES:
        lines += [".TP", f".I {_text(path)}", _text(meaning)]
    lines += [".SH NOTES", _text(app.epilog or "")]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, context: click.Context, before: str = "") -> Iterator[str]:
    """Each command; for a group, the commands in it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, click.Context(command, parent=context), f"{before}{name} ")
        elif command is not None and not command.hidden:
            yield from _command(before + name, command, context)


def _command(name: str, command: click.Command, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [".SS", f"captiond {_text(name)} {_text(usage)}"]
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        lines += [*([".PP"] if number else []), _text(" ".join(paragraph.replace("\b", "").split()))]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", f".B {_text(record[0])}", _text(" ".join(record[1].split()))]
    return lines


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


def _text(text: str) -> str:
    """The text escaped for roff: its hyphens can be copied, and no line is taken for a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
