"""Arguments to commands, and errors to exit codes: the only room that prints or exits.

Everything heavy is imported inside the command that needs it, so that `--help` and completion answer at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from captiond import __version__
from captiond.errors import CannotStart, ExitCode, NotThere, Surroundings, Verdict
from captiond.names import shown

if TYPE_CHECKING:
    from captiond.captioners.measuring import Bench
    from captiond.phi3v.speed import Measured
    from captiond.settings import Settings

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file.  Else $CAPTIOND_CONFIG, ./captiond.yaml, /etc/captiond/captiond.yaml.",
)


@click.group(
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
def run(config: Path | None, once: bool) -> ExitCode:
    """Watch the inbox in the foreground."""
    settings = _settings(config)
    _configure_logs(settings)
    # The very file of this start: with it gone, another one or the defaults would be a surprise.
    return _serve(settings, once=once, reread=lambda: _settings(settings.source or config))


@app.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@config_option
@click.option(
    "--model", metavar="ID", help="Hugging Face id, checkpoint folder, or `demo`; overrules model.id."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def caption(files: tuple[Path, ...], config: Path | None, model: str | None, as_json: bool) -> ExitCode:
    """Caption files where they lie, print, change nothing."""
    from captiond.commands.caption import caption_files
    from captiond.service.build import captioner_of
    from captiond.service.rules import request_of

    settings = _settings(config, model)
    _configure_logs(settings, quieter=True)
    failed = 0
    looks = caption_files(
        files,
        captioner_of(settings),
        request_of(settings),
        max_pixels=settings.limits.max_pixels,
        max_file_bytes=settings.limits.max_file_bytes,
    )
    for look in looks:
        failed += look.error is not None
        if as_json:
            print(json.dumps(look.as_json(), ensure_ascii=False), flush=True)
        elif look.error is not None:
            print(f"{_printable(look.file)}: {look.error.message}", file=sys.stderr, flush=True)
        elif len(files) == 1:
            print(look.text, flush=True)
        else:
            print(f"{_printable(look.file)}: {look.text}", flush=True)
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


@app.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, each as soon as it is known.")
def check(config: Path | None, as_json: bool) -> ExitCode:
    """Look at settings, folders, disk, model files, GPU and watcher: what is wrong, and what to do."""
    from captiond.commands.check import checks

    settings = _settings(config)
    _configure_logs(settings, quieter=True)
    worst = ExitCode.OK
    for result in checks(settings):
        mark = {True: "ok     ", False: "WRONG  ", None: "warning"}[result.ok]
        advice = result.advice if result.ok is not True else None
        if as_json:
            told = {"name": result.name, "result": mark.strip().lower(), "message": result.message}
            print(shown(json.dumps({**told, "advice": advice}, ensure_ascii=False)), flush=True)
        else:
            print(f"{mark}  {result.name}: {result.message}", flush=True)
            if advice:
                print(f"         -> {advice}", flush=True)
        if result.ok is False:
            worst = max(worst, result.exit_code)
    return worst


@app.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(config: Path | None, as_json: bool) -> ExitCode:
    """Show what the running daemon does; of a stopped one, what waits for it."""
    from captiond.commands import inspect

    found = inspect.status(_settings(config))
    if as_json:
        print(json.dumps(inspect.as_json(found), indent=2))
        return ExitCode.OK
    for name, text in inspect.lines(found):
        print(f"{name:8}  {_printable(text)}")
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
        print(json.dumps({"path": shown(str(path)), **inspect.as_json(found)}, ensure_ascii=False))
    else:
        print(_printable(found.message), file=sys.stdout if found.is_known else sys.stderr)
        if found.advice:
            print(f"  {_printable(found.advice)}")
    return ExitCode.OK if found.is_known else ExitCode.SOME_FAILED


@app.command()
@config_option
def health(config: Path | None) -> ExitCode:
    """Leave with 0 only if the daemon sees its inbox, its loops move and its model works; else with 1."""
    from captiond.commands import inspect

    try:
        trouble = inspect.status(_settings(config)).why_unhealthy()
    except Surroundings as unseen:
        trouble = unseen.message
    print(f"unhealthy: {_printable(trouble)}" if trouble else "healthy")
    return ExitCode.SOME_FAILED if trouble else ExitCode.OK


@app.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@config_option
def retry(paths: tuple[str, ...], config: Path | None) -> ExitCode:
    """Put failed images back into the inbox: all, or those named.

    PATH is a file in the failed folder, or its path beneath it.  The daemon may run meanwhile.
    """
    from captiond.delivery import retry

    folders = _settings(config).folders
    failures = retry.failures(folders.failed)
    wanted = [_beneath(path, folders.failed) for path in paths] or failures
    code = ExitCode.OK
    for path in wanted:
        try:
            back = retry.put_back(path, inbox=folders.inbox, failed=folders.failed)
        except NotThere:
            print(f"{_printable(path)}: no such failed image in {folders.failed}", file=sys.stderr)
            code = ExitCode.SOME_FAILED
        else:
            print(f"{_printable(path)} -> {folders.inbox / _printable(back)}", flush=True)
    if not wanted:
        print(f"Nothing has failed: {folders.failed} holds no image.")
    return code


@app.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
def demo(folder: Path | None) -> ExitCode:
    """A whole run on drawn sample pictures with the built-in model.

    Needs no download and no GPU.  Works in DIR, which must be new or empty, else in a temporary folder.
    """
    from captiond.demo import tour

    drawn = tour.prepare(folder)
    settings = tour.settings(drawn)
    _configure_logs(settings, quieter=True)
    print(
        f"Drew {len(drawn.samples)} pictures into {drawn.inbox}; running the daemon over them ...", flush=True
    )
    code = _serve(settings, once=True)
    stops = tour.look_back(drawn)
    print()
    width = max(len(stop.name) for stop in stops)
    for stop in stops:
        print(f"  {stop.name:{width}}  {stop.caption or 'not delivered'}")
    right = sum(stop.is_right for stop in stops)
    print(f"\n{right} of {len(stops)} captions are exactly right.  Look at the page {drawn.page},")
    print(f"at the sidecars and pictures in {drawn.done}, or at one picture's EXIF:")
    print(f"  exiftool -ImageDescription {drawn.done / stops[0].name}")
    print("\nThis model knows drawn shapes only.  For photographs use Phi-3.5-vision, the default: leave out")
    print("model.id, or set it to microsoft/Phi-3.5-vision-instruct; a GPU is advised (docs/gpu.md).")
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
    from captiond.captioners import measuring

    settings = _settings(config, model)
    _configure_logs(settings, quieter=True)
    chosen = settings.model
    if memory:
        fits = measuring.memory_table(crops or (1, 4, 16), settings.caption.max_new_tokens)
        nothing = {} if as_json else {"batch_size": "too small"}
        _print_rows([fit._asdict() | ({} if fit.batch_size else nothing) for fit in fits], as_json)
        return ExitCode.OK
    print("loading the model ...", file=sys.stderr, flush=True)
    opened = measuring.open_bench(
        model_id=chosen.id,
        revision=chosen.revision,
        device=chosen.device,
        dtype=chosen.dtype,
        quantization=chosen.quantization,
        num_crops=chosen.num_crops,
        max_new_tokens=settings.caption.max_new_tokens,
        random_size=size if random_weights else None,
    )
    wanted = batch_sizes or ((1, 4, 8) if opened.model.device.type == "cpu" else (1, 16, 64))
    found = []
    for one in opened.measured(wanted, crops or (chosen.num_crops,), new_tokens=new_tokens, rounds=rounds):
        print(f"batch {one.batch_size}, num_crops {one.num_crops}: done", file=sys.stderr, flush=True)
        found.append(one)
    _print_bench(opened, found, as_json)
    return ExitCode.OK


def _print_bench(opened: Bench, found: list[Measured], as_json: bool) -> None:
    rates = opened.rates
    best = max(found, key=lambda one: one.pictures_per_second, default=None)
    if as_json:
        device = {"device": str(opened.model.device), "dtype": str(opened.model.dtype), **rates._asdict()}
        rows = [one.as_json() for one in found]
        fastest = best.batch_size if best else None
        whole = {**device, "rows": rows, "auto_batch_size": opened.fits, "fastest_batch_size": fastest}
        whole["out_of_memory"] = opened.too_large
        print(json.dumps(whole))
        return
    precision = str(opened.model.dtype).removeprefix("torch.")
    print(f"{opened.model.device}, {precision}: {rates.bytes_per_second / 1e9:.0f} GB/s, ", end="")
    print(f"{rates.flops_per_second / 1e12:.2f} TFLOP/s measured")
    rows = [
        {
            "batch_size": one.batch_size,
            "num_crops": one.num_crops,
            "new_tokens": one.new_tokens,
            "pictures/s": f"{one.pictures_per_second:.2f}",
            "tokens/s": f"{one.tokens_per_second:.0f}",
            "of the floor": f"{one.share_of_floor:.0%}",
            "memory GB": f"{one.memory_bytes / 1e9:.1f}",
        }
        for one in found
    ]
    _print_rows(rows, as_json=False)
    for batch_size, num_crops in opened.too_large:
        print(f"Out of memory from batch {batch_size} on at num_crops {num_crops}.")
    if best:
        told = f"; auto would take {opened.fits}" if opened.fits else ""
        print(
            f"Fastest of these: model.batch_size {best.batch_size}, model.num_crops {best.num_crops}{told}."
        )


@app.command()
def schema() -> None:
    """Print the JSON Schema of the sidecar."""
    from captiond.sidecar import schema

    print(json.dumps(schema.json_schema(), indent=2))


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, put `eval "$(captiond completion bash)"` into ~/.bashrc; for zsh likewise into ~/.zshrc, after
    compinit; for fish, write it to ~/.config/fish/completions/captiond.fish.
    """
    from click.shell_completion import get_completion_class

    shell_complete = get_completion_class(shell)
    assert shell_complete is not None  # click has had these three since 8.0
    print(shell_complete(app, {}, "captiond", "_CAPTIOND_COMPLETE").source())


@app.command()
def man() -> None:
    """Print the manual page: `captiond man | man -l -`."""
    from captiond.commands import manual

    print(manual.page(app), end="")


def _print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """A table whose heads are the keys."""
    if as_json:
        print(json.dumps(rows))
    elif rows:
        widths = {key: max(len(key), *(len(str(row[key])) for row in rows)) for key in rows[0]}
        for row in ({key: key for key in widths}, *rows):
            print("  ".join(f"{row[key]!s:>{width}}" for key, width in widths.items()))


def _settings(config: Path | None, model: str | None = None) -> Settings:
    from captiond import settings

    overrides = {} if model is None else {"model.id": model}
    return settings.load(config, os.environ, Path.cwd(), overrides=overrides)


def _beneath(path: str, folder: Path) -> str:
    """`path` as seen from `folder`, whether it was given so or from where the caller stands."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve would follow links
    return str(absolute.relative_to(folder)) if absolute.is_relative_to(folder) else path


def _configure_logs(settings: Settings, *, quieter: bool = False) -> None:
    """`quieter`: for commands whose answer is on standard output, below a warning only if asked for."""
    from captiond import logs

    level = settings.log.level
    logs.configure("warning" if quieter and level == "info" else level, settings.log.format)


def _serve(settings: Settings, *, once: bool, reread: Callable[[], Settings] | None = None) -> ExitCode:
    from captiond.commands import progress
    from captiond.service.daemon import Daemon

    daemon = Daemon(settings, reread=reread)
    with progress.shown(daemon, sys.stderr, wanted=once):
        daemon.run(once=once)
    return ExitCode.SOME_FAILED if once and daemon.rooms.tally.failed else ExitCode.OK


def _complain(verdict: Verdict) -> None:
    print(f"captiond: {_printable(verdict.message)}", file=sys.stderr)
    if verdict.advice:
        print(f"  {_printable(verdict.advice)}", file=sys.stderr)


def _printable(text: str) -> str:
    """Names may hold bytes that are not UTF-8, and control characters that a terminal would obey."""
    return "".join(
        one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in shown(text)
    )
