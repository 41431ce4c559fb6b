"""Arguments to commands, and errors to exit codes: the only room that prints or exits.

Everything heavy is imported inside the command that needs it, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from captiond import __version__
from captiond.cli import again, checking, library, looking, pictures, reference, serving, waiting
from captiond.cli.say import say
from captiond.commands.manual import Commands
from captiond.errors import CannotStart, ExitCode, Surroundings, Verdict

COMMANDS = (
    serving.run,
    serving.init,
    pictures.caption,
    checking.check,
    looking.status,
    looking.explain,
    looking.health,
    pictures.retry,
    again.redo,
    again.undo,
    again.approve,
    again.export,
    again.bring_in,
    library.library,
    waiting.pause,
    waiting.resume,
    serving.demo,
    pictures.bench,
    reference.schema,
    reference.completion,
    reference.man,
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all well, 1 some image failed, 2 wrong command line, 75 try again later, "
    '78 wrong settings.  Completion: eval "$(captiond completion bash)".  Manual: captiond man | man -l -',
)
@click.version_option(__version__, message="captiond %(version)s")
def app() -> None:
    """Drop pictures into a folder, get captions: a self-hosted image-captioning daemon."""


for command in COMMANDS:
    app.add_command(command)


def main() -> NoReturn:
    """Run a command; the one place where errors become exit codes."""
    try:
        code = app(standalone_mode=False)
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except CannotStart as error:
        _complain(error)
        code = error.exit_code
    except Surroundings as error:
        _complain(error)
        code = ExitCode.TRY_AGAIN
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain about it once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.SOME_FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: that waits for threads which may be in the middle of loading a model for nobody.
    os._exit(int(code or 0))


def _complain(verdict: Verdict) -> None:
    say(f"captiond: {verdict.message}", to_errors=True)
    if verdict.advice:
        say(f"  {verdict.advice}", to_errors=True)
