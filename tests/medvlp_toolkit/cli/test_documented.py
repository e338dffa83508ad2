"""The page on the command line has every command and every option that is more than its name."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from medvlp_toolkit.cli.main import app


def test_every_command_has_a_section(repository: Path) -> None:
    page = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## `medvlp ([a-z]+)`$", page, re.MULTILINE))
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert commands == sections


def test_every_option_on_the_page_is_one_of_its_command(repository: Path) -> None:
    page = (repository / "docs" / "cli.md").read_text(encoding="utf-8")
    program = get_command(app)
    checked = 0
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.partition("#")[0].split()
            assert words[0] == "medvlp", line
            command = program.commands[words[1]]  # type: ignore[attr-defined]
            command = getattr(command, "commands", {}).get(words[2], command) if len(words) > 2 else command
            known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            for word in words[2:]:
                if word.startswith("--"):
                    assert word in known, line
                    checked += 1
    assert checked > 25
