"""Lines of code, counted as cloc counts them: without blank lines, comments and docstrings.

    python -m tests.architecture.size [ROOT]

prints those of the kernel, folder by folder, and of the whole repository.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import Path

#: What every training and evaluation stands on, within the core.
KERNEL = ("interfaces.py", "data", "model", "weights", "engines")
#: What reads files and prepares stores, before a training begins: no part of the kernel.
BESIDE = ("images", "tables", "preparing")
_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def lines_of_code(source: str) -> int:
    """Lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        is_documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_documented and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def size_of(paths: Iterable[Path]) -> int:
    """Lines of code of files, and of the Python files in folders."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    return sum(lines_of_code(file.read_text(encoding="utf-8")) for file in files)


def kernel_size(root: Path) -> Mapping[str, int]:
    """Part of the kernel -> lines of code."""
    return {part: size_of([root / "medvlp_toolkit" / part]) for part in KERNEL}


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    kernel = kernel_size(root)
    beside = {part: size_of([root / "medvlp_toolkit" / part]) for part in BESIDE}
    for part, lines in {**kernel, "kernel": sum(kernel.values()), **beside}.items():
        print(f"{lines:7,}  {part}")
    for part in ("medvlp_toolkit", "plugins", "tests"):
        print(f"{size_of([root / part]):7,}  {part}/")
