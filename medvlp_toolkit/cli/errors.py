"""Reports a user's mistake as one or two lines on stderr; only bugs get a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from medvlp_toolkit.errors import USER_ERROR, user_message


class Commands(TyperGroup):
    """The group of all commands: prints user errors as one or two lines."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            message = None if ctx.params.get("traceback") else user_message(error)
            if message is None:
                raise
            typer.echo(f"medvlp: {message}", err=True)
            raise typer.Exit(USER_ERROR) from None
