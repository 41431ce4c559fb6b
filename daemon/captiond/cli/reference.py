"""Commands that print what programs and people look up."""

from __future__ import annotations

import click

from captiond.cli.say import say_json


@click.command()
@click.argument("record", type=click.Choice(["caption", "error"]), default="caption")
def schema(record: str) -> None:
    """Print the JSON Schema of the sidecar, or of the error record."""
    from captiond.sidecar import schema

    say_json(schema.json_schema() if record == "caption" else schema.error_schema(), indent=2)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, put `eval "$(captiond completion bash)"` into ~/.bashrc; for zsh likewise into ~/.zshrc, after
    compinit; for fish, write it to ~/.config/fish/completions/captiond.fish.
    """
    from captiond.commands import manual

    print(manual.completion(_app(), shell))


@click.command()
def man() -> None:
    """Print the manual page: `captiond man | man -l -`."""
    from captiond.commands import manual

    print(manual.page(_app()), end="")


def _app() -> click.Group:
    app = click.get_current_context().find_root().command
    assert isinstance(app, click.Group)
    return app
