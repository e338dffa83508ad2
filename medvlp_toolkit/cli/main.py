"""``medvlp``: the commands, one file each.

A new command is a file with one function, and one line below.
"""

from __future__ import annotations

from typing import Annotated

import typer

import medvlp_toolkit as mv
from medvlp_toolkit.cli import bundle, doctor, import_, info, plugins
from medvlp_toolkit.cli.errors import Commands
from medvlp_toolkit.cli.export import export
from medvlp_toolkit.cli.found_commands import add_found_commands
from medvlp_toolkit.cli.inspect import inspect
from medvlp_toolkit.cli.new import new
from medvlp_toolkit.cli.prepare import prepare
from medvlp_toolkit.cli.report import report
from medvlp_toolkit.cli.submit import submit
from medvlp_toolkit.cli.verify import verify

app = typer.Typer(
    name="medvlp",
    cls=Commands,
    help="Medical vision-language pre-training: plugins, bundles, data and evaluation.",
    no_args_is_help=True,
    # Python's own traceback: a prettier one shows local variables, and those may hold a patient's report.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(plugins.plugins)
app.command()(info.info)
app.command()(doctor.doctor)
app.command()(prepare)
app.command()(inspect)
app.command()(submit)
app.command()(verify)
app.command()(new)
app.command()(report)
app.command()(export)
app.command("import")(import_.import_)
app.add_typer(bundle.app, name="bundle")
add_found_commands(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medvlp-toolkit {mv.__version__}")
        raise typer.Exit


@app.callback()
def options(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command; ``traceback`` is read where errors are reported (:mod:`medvlp_toolkit.cli.errors`)."""


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
