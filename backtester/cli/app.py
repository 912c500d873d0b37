"""The command ``backtester``: command groups that load when called, errors as exit codes.

Exit codes: 0 done, 1 refused by the data or the account, 2 wrong usage, 70 a bug of this package, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from backtester.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

BUG_EXIT_CODE = 70
INTERRUPTED_EXIT_CODE = 130

# Name, module with ``app``, one line for the list of commands. Modules load when their command is called.
GROUPS: dict[str, tuple[str, str]] = {
    "run": ("backtester.cli.run", "Run a strategy and write its report."),
    "sweep": ("backtester.cli.sweep", "Try many parameters and settings; the best of them in a table."),
    "optimize": ("backtester.cli.optimize", "Look for the parameters with which a metric is best."),
    "walk-forward": ("backtester.cli.walk_forward", "Choose on one span, test on the next, and go on."),
    "clearing": ("backtester.cli.clearing", "Clear a whole market of accounts through a crash."),
    "compare": ("backtester.cli.compare", "Compare runs or sweeps on one page, or a run with live trades."),
    "data": ("backtester.cli.data", "Import, check and list market data; make the synthetic market."),
    "strategy": ("backtester.cli.strategy", "List, write and check strategies."),
    "venue": ("backtester.cli.venue", "List venues and show their rules."),
    "reports": ("backtester.cli.reports", "List, open and rebuild reports of runs."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, so that ``--help`` imports none of them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature of the base class
        """Return the names in the order of the table."""
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the signature of the base class
        """Import the module of a command and return the command, or None where there is none."""
        if cmd_name not in GROUPS:
            return None
        command = get_command(import_module(GROUPS[cmd_name][0]).app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the signature of the base class
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in GROUPS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the arguments, or say which one is nearest."""
        name = args[0]
        if name not in GROUPS and not name.startswith("-"):
            from backtester.errors import UnknownNameError

            raise UnknownNameError("command", name, GROUPS)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"backtester {__version__}")
        raise typer.Exit


@app.callback()
def backtester(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere in the command).")
    ] = False,
) -> None:
    """Backtest crypto perpetual contracts, settled as the exchange would: funding, tiered margin, liquidation."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(exit_code([a for a in given if a != "--debug"], debug="--debug" in given))


def exit_code(arguments: Sequence[str], *, debug: bool = False) -> int:
    """Run one command and return its exit code; what went wrong is said on stderr.

    Parameters
    ----------
    arguments : sequence of str
        What follows ``backtester``.
    debug : bool
        Print the traceback of an error too.

    Returns
    -------
    int
        0, 1, 2, 70 or 130.
    """
    try:
        with _stdout("--json" in arguments):
            done = get_command(app).main(args=list(arguments), prog_name="backtester", standalone_mode=False)
    except (SystemExit, GeneratorExit):
        raise
    except KeyboardInterrupt:
        done = INTERRUPTED_EXIT_CODE
    except BaseException as error:  # noqa: BLE001 - the one place that turns errors into exit codes; a panic of polars is no Exception
        return _report(error, debug=debug)
    if done == INTERRUPTED_EXIT_CODE:
        _say("Interrupted.")
    return done if isinstance(done, int) else 0


def _stdout(is_json: bool) -> AbstractContextManager[None]:
    """Return what keeps stdout for JSON alone where that is wanted."""
    if not is_json:
        return nullcontext()
    from backtester.cli.output import json_alone

    return json_alone()


def _report(error: BaseException, *, debug: bool) -> int:
    """Say what went wrong and return the exit code."""
    from backtester.errors import BacktesterError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, typer.Abort):
        _say("Interrupted.")
        return INTERRUPTED_EXIT_CODE
    if isinstance(error, typer.TyperException):
        _say(_usage_text(error))
        return error.exit_code
    if isinstance(error, BacktesterError) and error.exit_code != BUG_EXIT_CODE:
        _say(f"Error: {error}")
        return error.exit_code
    log = _write_log(error)
    first_line = str(error).partition("\n")[0]
    _say(f"Internal error: {type(error).__name__}: {first_line} (details: {log or 'run again with --debug'})")
    return BUG_EXIT_CODE


def _usage_text(error: typer.TyperException) -> str:
    """Return the message of a wrong call, with the nearest option and the way to the help."""
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":
        return error.format_message()
    context = getattr(error, "ctx", None)
    text = f"Error: {error.message if kind == 'NoSuchOption' else error.format_message()}"
    if context is None:
        return text
    if kind == "NoSuchOption":
        text += _nearest_option(str(getattr(error, "option_name", "")), context)
    return f"{text}\nSee '{context.command_path} --help'."


def _nearest_option(option: str, context: Any) -> str:
    """Return the suggestion for an option that does not exist."""
    from backtester.errors import nearest_names

    known = [
        name
        for parameter in context.command.get_params(context)
        for name in (*parameter.opts, *parameter.secondary_opts)
    ]
    near = nearest_names(option, [name for name in known if name.startswith("--")])
    return f". Did you mean {' or '.join(near)}?" if near else "."


def _write_log(error: BaseException) -> Path | None:
    """Write the traceback of a bug to the user's log folder and return its path; None where nothing can be written."""
    import traceback
    from datetime import UTC, datetime
    from pathlib import Path

    from platformdirs import user_log_dir

    now = datetime.now(UTC)
    path = Path(user_log_dir("backtester", appauthor=False)) / f"error-{now:%Y%m%dT%H%M%S}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return None
    return path


def _say(text: str) -> None:
    typer.echo(text, err=True)


if __name__ == "__main__":
    main()
