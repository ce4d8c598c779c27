"""The reference page of the command line, made from the commands themselves.

`python -m vicinal.cli.reference > docs/reference/cli.md` writes it; a test compares the two.
"""

from __future__ import annotations

import click

from vicinal import errors
from vicinal.cli.program import program

__all__ = ["reference"]

WIDTH = 100
_OPENING = """\
<!-- Made by `python -m vicinal.cli.reference > docs/reference/cli.md`. Do not edit. -->

# The command line

`vicinal COMMAND DATABASE …` works on one database file. Commands that read never create a file.
How to bring data in and out is told in [Import and export](../how-to/import-export.md).

Results are tables on a terminal, lines with tabs in a pipe, and JSON with `--json`. Progress is shown on
stderr, where that is a terminal. An error is one line on stderr, beginning with `error:`.
"""


def reference() -> str:
    """Return the page as Markdown."""
    root = click.Context(program, info_name="vicinal", terminal_width=WIDTH, **program.context_settings)
    parts = [_OPENING, _section("vicinal", program, root)]
    for name in program.list_commands(root):
        command = program.get_command(root, name)
        if command is not None:
            context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
            parts.append(_section(f"vicinal {name}", command, context))
    return "\n".join([*parts, _exit_codes()])


def _section(title: str, command: click.Command, context: click.Context) -> str:
    lines = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"## {title}\n\n```text\n{lines}\n```\n"


def _exit_codes() -> str:
    """Return the table of exit codes, from the error classes."""
    meanings: dict[int, list[str]] = {}
    for error in [value for value in vars(errors).values() if isinstance(value, type)]:
        if not issubclass(error, errors.VicinalError):
            continue
        meanings.setdefault(error.exit_code, []).append(f"`{error.__name__}`")
    rows = [(0, "done"), (2, "wrong usage"), (70, "a defect of vicinal"), (130, "interrupted by Ctrl-C")]
    table = {code: [text] for code, text in rows}
    for code, names in meanings.items():
        table.setdefault(code, []).extend(names)
    lines = [f"| {code} | {', '.join(table[code])} |" for code in sorted(table)]
    return "\n".join(["## Exit codes", "", "| code | meaning |", "|--:|---|", *lines, ""])


if __name__ == "__main__":
    click.echo(reference(), nl=False)
