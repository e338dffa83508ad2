"""The installation page names every extra of every package, and what it installs."""

from __future__ import annotations

import re
import tomllib

from tests.docs.commands import ROOT

PAGE = ROOT / "docs" / "install.md"


def declared() -> dict[str, set[str]]:
    """``package[extra]`` -> names of the distributions that it adds."""
    found = {}
    for file in (ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        for extra, wanted in project.get("optional-dependencies", {}).items():
            found[f"{project['name']}[{extra}]"] = {re.split(r"[\[<>=; ]", line)[0] for line in wanted}
    return found


def test_the_table_has_every_extra_and_what_it_installs() -> None:
    rows = re.findall(r"^\| `(\S+\[\w+\])` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    table = {extra: {name.strip() for name in installs.split(",")} for extra, installs in rows}
    extras = declared()
    assert set(table) == set(extras)
    # That of development repeats most of the others: it is described in words.
    shown = {extra: names for extra, names in table.items() if not extra.endswith("[dev]")}
    assert shown == {extra: extras[extra] for extra in shown}


def test_the_core_extras_that_development_has_are_said_right() -> None:
    extras = declared()
    others = {name: names for name, names in extras.items() if re.match(r"medvlp-toolkit\[(?!dev)", name)}
    assert [name for name, names in others.items() if not names <= extras["medvlp-toolkit[dev]"]] == [
        "medvlp-toolkit[mlflow]"
    ]
