"""``--strict``: rejects everything not known to be harmless, for running other people's bundles.

Allowed are targets of MONAI, torch, Ignite, transformers and of the installed plugins' packages, except those that run
code, load pickles or download; and expressions of references, attributes, arithmetic and calls of these targets.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import medvlp_toolkit as mv
from medvlp_toolkit.verification.composition import Composition
from medvlp_toolkit.verification.expressions import REFERENCES, Expressions
from medvlp_toolkit.verification.located_file import IdPath
from medvlp_toolkit.verification.targets import Targets

ALLOWED_PACKAGES = ("monai", "torch", "torchvision", "ignite", "transformers", "medvlp_toolkit")
#: Names in allowed packages that execute, unpickle or download their arguments.
REFUSED = (
    *("torch.hub", "torch.load", "torch.serialization", "torch.package", "torch.utils.cpp_extension", "torch.classes"),
    *("torch.ops", "torch.jit", "torch.multiprocessing", "torch.distributed.launch", "torch.distributed.run"),
    *("torch.distributed.rpc", "torch.utils.model_zoo", "torch._", "torch.testing._internal", "torch.sys", "torch.os"),
    *("torch.distributed.elastic", "torch.utils.collect_env", "torch.utils.bottleneck", "torch.export.load"),
    *("torch.save", "torch.from_file", "torch.fx", "torch.utils.data.datapipes", "torch.importlib", "torch.builtins"),
    *("monai.bundle", "monai.apps", "monai.utils.module", "monai.utils.misc", "monai.utils.state_cacher"),
    *("monai.data.utils.pickle", "monai.data.load_net_with_metadata", "monai.data.torchscript_utils"),
    *("monai.auto3dseg", "monai.fl", "monai.os", "monai.sys", "monai.config.deviceconfig"),
    *("transformers.pipeline", "transformers.dynamic_module_utils", "transformers.utils", "transformers.tools"),
    *("transformers.agents", "transformers.commands", "ignite.contrib", "medvlp_toolkit.cli", "medvlp_toolkit.testing"),
)
#: Harmless names in refused modules.
_EXCEPTIONS = ("monai.utils.misc.set_determinism",)
_BUILTINS = frozenset(
    (
        *("abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float", "frozenset", "int", "len"),
        *(
            "isinstance",
            "list",
            "map",
            "max",
            "min",
            "print",
            "range",
            "reversed",
            "round",
            "set",
            "slice",
            "sorted",
            "str",
        ),
        *("sum", "tuple", "zip"),
    )
)
_HARMLESS = ("numpy.", "math.", "copy.", "itertools.", "collections.", "functools.", "statistics.")
#: Registries return only plugins, for any name.
_REGISTRIES = frozenset(f"medvlp_toolkit.{kind}" for kind in mv.registries)
_NUMPY_REFUSED = ("load", "save", "savez", "fromfile", "memmap", "loadtxt", "genfromtxt", "DataSource", "ctypeslib")
_REFUSED_ARGUMENTS = {"trust_remote_code": (True, "True", "true"), "weights_only": (False, "False", "false")}
_NODES = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Call, ast.keyword),
    *(ast.Starred, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.IfExp, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Lambda, ast.arguments, ast.arg),
    *(ast.JoinedStr, ast.FormattedValue, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
)


def allowed_packages() -> frozenset[str]:
    """Packages whose targets are accepted: well-known ones, and those of installed plugins."""
    plugins = (ref.import_path for registry in mv.registries.values() for ref in registry.refs())
    return frozenset(ALLOWED_PACKAGES) | {path.partition(".")[0] for path in plugins}


def is_allowed(dotted: str) -> bool:
    """Whether a dotted path is in an allowed package and does not execute, unpickle or download."""
    if dotted.partition(".")[0] not in allowed_packages():
        return False
    if any(part.startswith("__") for part in dotted.split(".")):
        return False
    if any(_is_within(dotted, exception) for exception in _EXCEPTIONS):
        return True
    return not any(dotted.startswith(path) if path.endswith("_") else _is_within(dotted, path) for path in REFUSED)


def check_strictly(composition: Composition, expressions: Expressions, targets: Targets) -> None:
    """A problem for every target, argument and expression that is not allowed."""
    for path, value in composition.walk():
        if isinstance(value, dict) and isinstance(target := value.get("_target_"), str):
            _check_target(composition, path, target, value, targets)
    for path in expressions.import_places.values():
        text = str(composition.get(path))
        for dotted in _imports(text[1:]):
            if not is_allowed(dotted) and not f"{dotted}.".startswith(_HARMLESS):
                _refuse(composition, path, f"imports {dotted}")
    for path, tree in expressions.trees.items():
        for what in dict.fromkeys(_refused_in(tree, expressions.imported)):
            _refuse(composition, path, what)


def _check_target(
    composition: Composition, path: IdPath, target: str, mapping: dict[Any, Any], targets: Targets
) -> None:
    homes = [] if "." in target else targets.monai_names.get(target, [])
    dotted = f"{homes[0]}.{target}" if homes else target
    if target.startswith("$"):
        _refuse(composition, (*path, "_target_"), "has a target that is known only when it runs")
    elif not is_allowed(dotted):
        _refuse(composition, (*path, "_target_"), f"has the target {dotted}")
    if mapping.get("_mode_") == "debug":
        _refuse(composition, (*path, "_mode_"), "starts the debugger")
    for name, refused in _REFUSED_ARGUMENTS.items():
        if name in mapping and any(mapping[name] is value or mapping[name] == value for value in refused):
            _refuse(composition, (*path, name), f"sets {name}: {mapping[name]}")


def _refuse(composition: Composition, path: IdPath, what: str) -> None:
    composition.add(path, f"not allowed with --strict: {what}", "read it, and leave out --strict if you trust it")


def _is_within(dotted: str, path: str) -> bool:
    return dotted == path or dotted.startswith(f"{path}.")


def _imports(text: str) -> Iterator[str]:
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _refused_in(tree: ast.Expression, imported: dict[str, str]) -> Iterator[str]:
    bound = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    harmless = {
        id(call.func) for call in ast.walk(tree) if isinstance(call, ast.Call) and _asks_for_public(call, imported)
    }
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            yield f"has {type(node).__name__} in an expression"
        elif isinstance(node, ast.Attribute):
            dotted = _dotted(node, imported, bound)
            if node.attr.startswith("_"):
                yield f"accesses .{node.attr}"
            elif dotted and not (is_allowed(dotted) or _is_harmless(dotted)):
                yield f"uses {dotted}"
        elif isinstance(node, ast.Name) and node.id not in bound | {REFERENCES} and id(node) not in harmless:
            dotted = imported.get(node.id)
            known = node.id in _BUILTINS if dotted is None else "." not in dotted
            if not known and not (dotted and (is_allowed(dotted) or _is_harmless(dotted))):
                yield f"uses {dotted or node.id}"
        elif isinstance(node, ast.keyword) and _is_refused(node):
            yield f"sets {node.arg}={ast.unparse(node.value)}"


def _is_refused(word: ast.keyword) -> bool:
    return isinstance(word.value, ast.Constant) and word.value.value in _REFUSED_ARGUMENTS.get(word.arg or "", ())


def _asks_for_public(call: ast.Call, imported: dict[str, str]) -> bool:
    """``getattr(x, 'name')`` and ``hasattr(x, 'name')`` with a literal public name, or of a registry."""
    if not (isinstance(call.func, ast.Name) and call.func.id in ("getattr", "hasattr") and len(call.args) > 1):
        return False
    whose, name = call.args[:2]
    if isinstance(whose, ast.Attribute | ast.Name) and _dotted(whose, imported, set()) in _REGISTRIES:
        return True
    return isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("_")


def _is_harmless(dotted: str) -> bool:
    if not f"{dotted}.".startswith(_HARMLESS):
        return False
    return not any(part in _NUMPY_REFUSED or part.startswith("_") for part in dotted.split("."))


def _dotted(node: ast.Attribute | ast.Name, imported: dict[str, str], bound: set[str]) -> str | None:
    names: list[str] = []
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        names.append(root.attr)
        root = root.value
    if isinstance(root, ast.Name) and root.id in imported and root.id not in bound:
        return ".".join([imported[root.id], *reversed(names)])
    return None
