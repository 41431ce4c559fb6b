"""Commands about pictures that are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from captiond.cli.given import config_option, configure_logs, settings_of
from captiond.cli.say import say, say_json, say_lines
from captiond.errors import ExitCode

if TYPE_CHECKING:
    from captiond.records import Notice


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@config_option
@click.option(
    "--model", metavar="ID", help="Hugging Face id, checkpoint folder, or `demo`; overrules model.id."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def caption(files: tuple[Path, ...], config: Path | None, model: str | None, as_json: bool) -> ExitCode:
    """Caption files where they lie, print, change nothing."""
    from captiond.commands import caption

    settings = settings_of(config, model)
    configure_logs(settings, quieter=True)
    failed = 0
    for look in caption.looks(settings, files, in_order=as_json):
        failed += look.error is not None
        if as_json:
            say_json(look.as_json())
        elif look.error is not None:
            say(f"{look.file}: {look.error.message}", to_errors=True)
        else:
            say(look.text if len(files) == 1 else f"{look.file}: {look.text}")
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@config_option
def retry(paths: tuple[str, ...], config: Path | None) -> ExitCode:
    """Put failed images back into the inbox: all, or those named.

    PATH is a file in the failed folder, or its path beneath it; or one in a library, which is tried again
    where it lies.  The daemon may run meanwhile.
    """
    from captiond.commands import retry

    settings = settings_of(config)
    failed, code, is_any = settings.folders.failed, ExitCode.OK, False

    def warn(notice: Notice) -> None:
        say(notice.message, to_errors=True)

    for path, back in retry.put_back(settings, paths, Path.cwd(), warn):
        is_any = True
        if back is None:
            say(f"{path}: no such failed image in {failed}", to_errors=True)
            code = ExitCode.SOME_FAILED
        else:
            say(f"{path} -> {back}")
    if not is_any:
        say(f"Nothing has failed: {failed} holds no image.")
    return code


@click.command()
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
    from captiond.captioners.installed import need_local_models

    need_local_models()
    from captiond.commands import bench

    settings = settings_of(config, model)
    configure_logs(settings, quieter=True)
    if memory:
        told: bench.Told = bench.Fits(settings, crops)
    else:
        random_size = size if random_weights else None
        told = bench.Benchmark(settings, random_size, note=lambda text: say(text, to_errors=True))
        told.measure(batch_sizes, crops, new_tokens=new_tokens, rounds=rounds)
    if as_json:
        say_json(told.as_json())
    else:
        say_lines(told.lines())
    return ExitCode.OK
