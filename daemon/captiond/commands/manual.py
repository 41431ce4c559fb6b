"""How the command line tells of itself: the list of `--help`, and the manual page.  Pure."""

from __future__ import annotations

import re

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
    for name in app.list_commands(context):
        command = app.get_command(context, name)
        if command is not None and not command.hidden:
            lines += _command(name, command, context)
    lines += [".SH FILES"]
    for path, meaning in FILES:
        lines += [".TP", f".I {_text(path)}", _text(meaning)]
    lines += [".SH NOTES", _text(app.epilog or "")]
    return "\n".join(lines) + "\n"


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
    """Letters as they are: no hyphen that cannot be copied, no line that roff takes for a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
