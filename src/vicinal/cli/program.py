"""The program: its commands, and how every failure becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

import vicinal
from vicinal.cli.bench import bench
from vicinal.cli.demonstration import demo
from vicinal.cli.keeping import backup, compact, export, verify
from vicinal.cli.reading import get, info, search
from vicinal.cli.shell import completion
from vicinal.cli.tune import tune
from vicinal.cli.writing import delete, import_
from vicinal.errors import VicinalError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEBUG_VARIABLE", "main", "program"]

DEBUG_VARIABLE = "VICINAL_DEBUG"
INTERRUPTED = 130
UNEXPECTED = 70


class Program(click.Group):
    """A group whose errors are one line on stderr, without a traceback unless it was asked for."""

    debug = False

    def main(self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run a command; exit with 0, or with the code of what went wrong."""
        self.debug = bool(os.environ.get(DEBUG_VARIABLE))
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        try:
            code = super().main(args, standalone_mode=False, **extra)
        except click.Abort:
            self._fail("interrupted", INTERRUPTED)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(0)
        except click.ClickException as error:
            hint = ""
            if isinstance(error, click.UsageError) and error.ctx is not None:
                hint = f" (see '{error.ctx.command_path} --help')"
            self._fail(f"{error.format_message().rstrip('.')}{hint}", error.exit_code)
        except VicinalError as error:
            self._fail(str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001 - the last resort; --debug shows where it came from
            self._fail(
                f"unexpected {type(error).__name__}: {error}; a defect; 'vicinal --debug …' shows where",
                UNEXPECTED,
            )
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run the command of a parsed line; Ctrl-C counts as click's Abort."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def _fail(self, message: str, code: int) -> NoReturn:
        if self.debug:
            traceback.print_exc()
        if code == INTERRUPTED and sys.stderr.isatty():
            click.echo(err=True)  # the terminal shows ^C and stays on that line
        click.echo(f"error: {_one_line(message)}", err=True)
        sys.exit(code)


def _one_line(message: str) -> str:
    r"""Return a message on one line; a caret below a filter becomes a number.

    >>> _one_line("expected a value\n  year >>= 3\n        ^")
    'expected a value, at character 7 of: year >>= 3'
    """
    lines = message.splitlines() or [""]
    if len(lines) == 3 and lines[2].strip() == "^":
        source = lines[1].lstrip()
        position = lines[2].index("^") - (len(lines[1]) - len(source)) + 1
        return f"{lines[0]}, at character {position} of: {source}"
    return " ".join(message.split())


def _show_traceback(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and isinstance(context.command, Program):
        context.command.debug = True


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Begin with
  vicinal demo
  vicinal import app.db notes/ --embedder wordllama
  vicinal search app.db "wall paint that dries fast"
""",
)
@click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_show_traceback,
    help=f"Show the traceback of an error. Also: {DEBUG_VARIABLE}=1.",
)  # fmt: skip
@click.version_option(vicinal.__version__, message="vicinal %(version)s")
def program() -> None:
    """Keep a vector database in one SQLite file: vectors, text and metadata change together."""


for _command in (demo, import_, search, get, info, export, backup, verify, compact, delete, tune, bench, completion):
    program.add_command(_command)


def main() -> NoReturn:
    """Run `vicinal` with the arguments of this process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its code instead of failing.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    program.main(prog_name="vicinal")
    sys.exit(0)
