"""Arguments to commands, and errors to exit codes: the only room that prints or exits.

Everything heavy is imported inside the command that needs it, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from captiond import __version__
from captiond.characters import printable
from captiond.commands.manual import Commands, duration
from captiond.errors import CannotStart, ExitCode, Surroundings, Verdict
from captiond.names import shown

if TYPE_CHECKING:
    from captiond.records import Notice
    from captiond.settings import Settings
    from captiond.status import Status

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file.  Else $CAPTIOND_CONFIG, ./captiond.yaml, /etc/captiond/captiond.yaml.",
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


@app.command()
@config_option
@click.option("--once", is_flag=True, help="Empty the inbox (files still being written too); then leave.")
@click.option(
    "--patience", metavar="TIME", callback=duration, help="With --once: with what is not whole (10s)."
)
def run(config: Path | None, once: bool, patience: float | None) -> ExitCode:
    """Watch the inbox in the foreground."""
    from captiond.commands import run

    if patience is not None and not once:
        raise click.UsageError("--patience goes with --once")
    settings = _settings(config)
    _configure_logs(settings)
    run.begin(settings)
    # The very file of this start: with it gone, another one or the defaults would be a surprise.
    return run.serve(
        settings,
        sys.stderr,
        once=once,
        patience_seconds=run.PATIENCE_SECONDS if patience is None else patience,
        reread=lambda: _settings(settings.source or config),
    )


@app.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--model", metavar="demo|phi|URL", help="Drawn shapes, Phi-3.5-vision, or a server's address.")
@click.option("--page/--no-page", default=None, help="A page to look at, for this machine alone.")
@click.option("--yes", is_flag=True, help="Ask nothing: phi, no page, and the first model of a server.")
@click.option("--systemd", is_flag=True, help="Only print what to type for a service of systemd.")
def init(folder: Path | None, model: str | None, page: bool | None, yes: bool, systemd: bool) -> ExitCode:
    """Make folders and a commented settings file in DIR, try the model, say what next.

    DIR is the current folder if it is left out.  What exists is not changed.
    """
    from captiond.commands import init

    if systemd:
        _say_lines(init.service_lines(init.program()))
        return ExitCode.OK
    plan = init.planned(Path.cwd() / (folder or ""), model, page, asks=not yes and sys.stdin.isatty())
    settings = init.make(plan, os.environ)
    _say(f"Made {settings.source}, and beside it {', '.join(init.FOLDERS)}.  What `captiond check` says:")
    _configure_logs(settings, quieter=True)
    code = _check(settings, as_json=False)
    _say_lines(init.next_steps(plan, Path.cwd()))
    return code


@app.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@config_option
@click.option(
    "--model", metavar="ID", help="Hugging Face id, checkpoint folder, or `demo`; overrules model.id."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def caption(files: tuple[Path, ...], config: Path | None, model: str | None, as_json: bool) -> ExitCode:
    """Caption files where they lie, print, change nothing."""
    from captiond.commands import caption

    settings = _settings(config, model)
    _configure_logs(settings, quieter=True)
    failed = 0
    for look in caption.looks(settings, files, in_order=as_json):
        failed += look.error is not None
        if as_json:
            _say_json(look.as_json())
        elif look.error is not None:
            _say(f"{look.file}: {look.error.message}", to_errors=True)
        else:
            _say(look.text if len(files) == 1 else f"{look.file}: {look.text}")
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


@app.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, each as soon as it is known.")
def check(config: Path | None, as_json: bool) -> ExitCode:
    """Look at settings, folders, disk, model files, GPU and watcher: what is wrong, and what to do."""
    settings = _settings(config)
    _configure_logs(settings, quieter=True)
    return _check(settings, as_json=as_json)


@app.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--watch", is_flag=True, help="Keep it up to date; with --json, an object each second.")
def status(config: Path | None, as_json: bool, watch: bool) -> ExitCode:
    """Show what the running daemon does; of a stopped one, what waits for it."""
    from captiond.commands import status

    if watch and as_json:
        for found in status.again_and_again(lambda: _status(config)):
            _say_json(found.as_json())
    elif watch:
        from captiond.commands import screen

        if not sys.stdout.isatty():
            raise click.UsageError("--watch needs a terminal; `--watch --json` prints an object each second.")
        screen.show(lambda: _status(config), sys.stdout)
    elif as_json:
        _say_json(_status(config).as_json(), indent=2)
    else:
        _say_lines(status.lines(_status(config)))
    return ExitCode.OK


@app.command()
@click.argument("path", type=click.Path(path_type=Path))
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def explain(path: Path, config: Path | None, as_json: bool) -> ExitCode:
    """Say why a file is still in the inbox, or where it went.

    PATH lies in one of the folders, or is a path beneath the inbox.
    """
    from captiond.commands import inspect

    found = inspect.explain(_settings(config), path, Path.cwd())
    if as_json:
        _say_json({"path": shown(str(path)), **found.as_json()})
    else:
        _say(found.message, to_errors=not found.is_known)
        if found.advice:
            _say(f"  {found.advice}")
    return ExitCode.OK if found.is_known else ExitCode.SOME_FAILED


@app.command()
@config_option
def health(config: Path | None) -> ExitCode:
    """Leave with 0 only if the daemon sees its inbox, its loops move and its model works; else with 1."""
    try:
        trouble = _status(config).why_unhealthy()
    except Surroundings as unseen:
        trouble = unseen.message
    _say(f"unhealthy: {trouble}" if trouble else "healthy")
    return ExitCode.SOME_FAILED if trouble else ExitCode.OK


@app.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@config_option
def retry(paths: tuple[str, ...], config: Path | None) -> ExitCode:
    """Put failed images back into the inbox: all, or those named.

    PATH is a file in the failed folder, or its path beneath it.  The daemon may run meanwhile.
    """
    from captiond.commands import retry

    settings = _settings(config)
    failed, code, is_any = settings.folders.failed, ExitCode.OK, False

    def warn(notice: Notice) -> None:
        _say(notice.message, to_errors=True)

    for path, back in retry.put_back(settings, paths, Path.cwd(), warn):
        is_any = True
        if back is None:
            _say(f"{path}: no such failed image in {failed}", to_errors=True)
            code = ExitCode.SOME_FAILED
        else:
            _say(f"{path} -> {back}")
    if not is_any:
        _say(f"Nothing has failed: {failed} holds no image.")
    return code


@app.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def demo(folder: Path | None) -> ExitCode:
    """Show a whole run on drawn sample pictures with the built-in model.

    Needs no download and no GPU.  Works in DIR, which must be new or empty, else in a temporary folder.
    """
    from captiond.commands import run
    from captiond.demo import tour

    drawn = tour.prepare(folder)
    settings = tour.settings(drawn)
    _configure_logs(settings, quieter=True)
    _say(f"Drew {len(drawn.samples)} pictures into {drawn.inbox}; running the daemon over them ...")
    code = run.serve(settings, sys.stderr, once=True)
    _say_lines(tour.told(drawn, tour.look_back(drawn)))
    return code


@app.command()
@config_option
@click.option(
    "--model", metavar="ID", help="Checkpoint folder, Hugging Face id or `demo`; overrules model.id."
)
@click.option("--random-weights", is_flag=True, help="A network with random weights: no download.")
@click.option("--size", type=click.Choice(["tiny", "mid", "full"]), default="full", help="Of random weights.")
@click.option("--batch-size", "batch_sizes", type=click.IntRange(1, 1024), multiple=True, help="Repeatable.")
@click.option("--num-crops", "crops", type=click.IntRange(1, 64), multiple=True, help="Repeatable.")
@click.option("--new-tokens", type=click.IntRange(2, 4096), default=60, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, help="Batches measured.")
@click.option("--memory", is_flag=True, help="Only compute what fits on common cards.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def bench(
    config: Path | None,
    model: str | None,
    random_weights: bool,
    size: str,
    batch_sizes: tuple[int, ...],
    crops: tuple[int, ...],
    new_tokens: int,
    rounds: int,
    memory: bool,
    as_json: bool,
) -> ExitCode:
    """Measure pictures and tokens a second of the configured model on this machine."""
    from captiond.commands import bench

    settings = _settings(config, model)
    _configure_logs(settings, quieter=True)
    if memory:
        told: bench.Told = bench.Fits(settings, crops)
    else:
        random_size = size if random_weights else None
        told = bench.Benchmark(settings, random_size, note=lambda text: _say(text, to_errors=True))
        told.measure(batch_sizes, crops, new_tokens=new_tokens, rounds=rounds)
    if as_json:
        _say_json(told.as_json())
    else:
        _say_lines(told.lines())
    return ExitCode.OK


@app.command()
@click.argument("record", type=click.Choice(["caption", "error"]), default="caption")
def schema(record: str) -> None:
    """Print the JSON Schema of the sidecar, or of the error record."""
    from captiond.sidecar import schema

    _say_json(schema.json_schema() if record == "caption" else schema.error_schema(), indent=2)


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, put `eval "$(captiond completion bash)"` into ~/.bashrc; for zsh likewise into ~/.zshrc, after
    compinit; for fish, write it to ~/.config/fish/completions/captiond.fish.
    """
    from captiond.commands import manual

    print(manual.completion(app, shell))


@app.command()
def man() -> None:
    """Print the manual page: `captiond man | man -l -`."""
    from captiond.commands import manual

    print(manual.page(app), end="")


def _status(config: Path | None) -> Status:
    """How the daemon fares: asked at once if it runs by our settings, else found out at length."""
    from captiond.commands import status

    found = status.quick(config, os.environ, Path.cwd())
    if found is None:
        from captiond.commands import inspect

        found = inspect.status(_settings(config))
    return found


def _check(settings: Settings, *, as_json: bool) -> ExitCode:
    from captiond.commands.check import checks

    worst = ExitCode.OK
    for result in checks(settings):
        if as_json:
            _say_json(result.as_json())
        else:
            _say_lines(result.lines())
        if result.ok is False:
            worst = max(worst, result.exit_code)
    return worst


def _settings(config: Path | None, model: str | None = None) -> Settings:
    from captiond import settings

    overrides = {} if model is None else {"model.id": model}
    return settings.load(config, os.environ, Path.cwd(), overrides=overrides)


def _configure_logs(settings: Settings, *, quieter: bool = False) -> None:
    """`quieter`: for commands whose answer is on standard output, below a warning only if asked for."""
    from captiond import logs

    level = settings.log.level
    logs.configure("warning" if quieter and level == "info" else level, settings.log.format)


def _complain(verdict: Verdict) -> None:
    _say(f"captiond: {verdict.message}", to_errors=True)
    if verdict.advice:
        _say(f"  {verdict.advice}", to_errors=True)


def _say(text: str, *, to_errors: bool = False) -> None:
    """For people.  Names and captions may hold what a terminal would obey or hide."""
    print(printable(text), file=sys.stderr if to_errors else sys.stdout, flush=True)


def _say_lines(lines: Iterable[str]) -> None:
    for line in lines:
        _say(line)


def _say_json(told: Any, indent: int | None = None) -> None:
    """For programs; to them an escape is the very same character."""
    text = json.dumps(told, ensure_ascii=False, indent=indent)
    print(printable(text, escape=lambda char: json.dumps(char)[1:-1]), flush=True)
