"""Completion of commands, options, files and collection names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command(
    epilog="""\b
Examples
  eval "$(vicinal completion bash)"                                  # in ~/.bashrc
  eval "$(vicinal completion zsh)"                                   # in ~/.zshrc
  vicinal completion fish > ~/.config/fish/completions/vicinal.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has all three
    root = context.find_root()
    click.echo(found(root.command, {}, "vicinal", "_VICINAL_COMPLETE").source())
