"""The command line starts fast, and reports a user's mistake in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import medvlp_toolkit as mv
from medvlp_toolkit.cli.errors import Commands
from medvlp_toolkit.cli.main import app
from medvlp_toolkit.errors import USER_ERROR, user_message
from medvlp_toolkit.registry import PluginNotFoundError

HEAVY = ("torch", "monai", "ignite", "transformers", "numpy", "pandas")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["plugins"], ["plugins", "--json"], ["bundle", "list"], ["doctor", "--help"]],
)
def test_command_loads_no_deep_learning_stack(arguments: list[str]) -> None:
    program = (
        "import sys, json\n"
        "from medvlp_toolkit.cli.main import app\n"
        f"sys.argv = ['medvlp', *{arguments!r}]\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []


def test_console_script_and_module_are_the_same_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "medvlp_toolkit.cli.main", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"medvlp-toolkit {mv.__version__}\n"


def test_a_shell_completes_commands() -> None:
    """What the function that `--install-completion` writes asks the program."""
    asked = {**os.environ, "_MEDVLP_COMPLETE": "complete_bash", "COMP_WORDS": "medvlp rep", "COMP_CWORD": "1"}
    program = "from medvlp_toolkit.cli.main import app; app(prog_name='medvlp')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=asked)
    assert ran.stdout.split() == ["report"]


def test_every_command_has_a_summary() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    for command in ("plugins", "info", "doctor", "bundle"):
        assert command in shown
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def failing(error: Exception, *, own: bool = True) -> typer.Typer:
    """A program whose command raises ``error``, from the toolkit's code or from elsewhere."""
    program = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    source = "def fail(error):\n    raise error\n"
    namespace: dict[str, object] = {"__name__": "medvlp_toolkit.somewhere" if own else "somebody_elses_library"}
    exec(source, namespace)

    @program.command()
    def run() -> None:
        namespace["fail"](error)  # type: ignore[operator]

    @program.callback()
    def options(traceback: bool = False) -> None:
        """As the real program's."""

    return program


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("size is -1; give a positive size"), "medvlp: size is -1; give a positive size"),
        (FileNotFoundError("no store at x; prepare one"), "medvlp: no store at x; prepare one"),
        (FileNotFoundError(2, "No such file or directory", "reports.csv"), "medvlp: reports.csv: No such file"),
        (PluginNotFoundError("no encoders plugin named 'x'"), "medvlp: no encoders plugin named 'x'"),
    ],
)
def test_users_mistake_is_a_line_on_stderr_and_status_two(error: Exception, line: str) -> None:
    ended = CliRunner().invoke(failing(error), ["run"])
    assert ended.exit_code == USER_ERROR
    assert ended.stderr.startswith(line)
    assert ended.stdout == ""
    assert "Traceback" not in ended.output


@pytest.mark.parametrize("error", [TypeError("a bug"), KeyError("a bug"), ZeroDivisionError("a bug")])
def test_bug_keeps_its_traceback(error: Exception) -> None:
    assert CliRunner().invoke(failing(error), ["run"]).exception is error


def test_same_error_from_another_library_is_a_bug() -> None:
    error = ValueError("array must not contain NaNs")
    assert CliRunner().invoke(failing(error, own=False), ["run"]).exception is error


def test_traceback_is_had_for_the_asking() -> None:
    error = ValueError("size is -1")
    assert CliRunner().invoke(failing(error), ["--traceback", "run"]).exception is error


@pytest.mark.usefixtures("fake_packages")
def test_value_error_of_a_plugins_own_package_is_a_users_mistake() -> None:
    import acme_filters

    exec("def refuse():\n    raise ValueError('word is empty')", vars(acme_filters))
    with pytest.raises(ValueError, match="word is empty") as caught:
        acme_filters.refuse()
    # pytest keeps its own frame on top; the innermost is the plugin's, as when a command runs it.
    assert user_message(caught.value) == "word is empty"


def test_unknown_command_and_option_are_refused_with_status_two() -> None:
    for arguments in (["pluggins"], ["plugins", "--jsn"], ["info", "encoders"]):
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 2
        assert "Traceback" not in ended.output


def test_tracebacks_never_show_local_variables(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, typer\n"
        "from medvlp_toolkit.cli.main import app\n"
        "@app.command()\n"
        "def read() -> None:\n"
        "    report_text = 'a patient' + ' called Smith'\n"
        "    raise TypeError('a bug')\n"
        "sys.argv = ['medvlp', 'read']\n"
        "app()\n"
    )
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "TypeError: a bug" in ran.stderr
    assert "a patient called Smith" not in ran.stderr
