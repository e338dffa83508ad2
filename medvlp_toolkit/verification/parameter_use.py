"""Determines from source code whether a function uses its parameters.

A parameter is used when it reaches anything except validation of its own value: a condition, a call, a result. One that
is stored as an attribute is used when the attribute is read: in the class, its bases and subclasses, or, from another
object (``handler.layers``), anywhere in the packages. Attributes are distinguished only by name, so a parameter named
like an attribute that is read elsewhere passes, and so does anything that cannot be followed.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from medvlp_toolkit.verification.sources import AnyFunction, Sources, function_of, method_of, parents_of

#: Built-in functions that only convert their argument.
_CONVERSIONS = ("bool", "dict", "float", "frozenset", "int", "list", "set", "sorted", "str", "tuple", "Path")
#: Methods that only display an object.
_DISPLAYS = ("__repr__", "extra_repr", "_repr_html_")


class _Effect(Enum):
    """The effect of a use of a variable."""

    NONE = auto()  # passed to code that does not use it
    KEPT = auto()  # stored where nothing reads it
    CHECKS = auto()  # only validated
    ACTS = auto()


@dataclass(frozen=True)
class _Scope:
    """The context of a function: its enclosing names, and its class if it is a method."""

    names: Mapping[str, Any]
    node: AnyFunction
    owner: type | None = None
    definer: type | None = None

    @property
    def own_name(self) -> str:
        """``self``, or the name of a method's first parameter."""
        arguments = [*self.node.args.posonlyargs, *self.node.args.args]
        return arguments[0].arg if self.owner is not None and arguments else ""


@dataclass(frozen=True)
class _Method:
    """A method called on an object of a class."""

    owner: type
    function: Any


class ParameterUse:
    """Analyses functions and classes of the given packages; all others are assumed to use their parameters.

    Args:
        sources: the packages.
        read_elsewhere: attributes read outside of Python code, such as in expressions of a configuration.
    """

    def __init__(self, sources: Sources, read_elsewhere: Callable[[str], bool] = lambda name: False) -> None:
        self.sources, self.read_elsewhere = sources, read_elsewhere
        self._known: dict[tuple[Any, str], bool] = {}
        self._asked: list[tuple[Any, str]] = []
        self._attributes: dict[tuple[type, str], bool] = {}

    def is_used(self, target: Any, name: str) -> bool:
        """Whether a function, class or bound method uses the parameter of this name."""
        key = (_unwrapped(target), name)
        if not (inspect.isclass(key[0]) or inspect.isroutine(key[0]) or isinstance(key[0], _Method)):
            return True
        if key in self._asked:
            return False  # a recursive call is not a use
        if key not in self._known:
            self._asked.append(key)
            used = self._is_used(*key)
            self._asked.pop()
            if not used and self._asked:
                return False  # it may have been passed to a function that is still being analysed
            self._known[key] = used
        return self._known[key]

    def _is_used(self, target: Any, name: str) -> bool:
        owner: Any = None
        if isinstance(target, _Method):
            owner, target = target.owner, target.function
        elif not self.sources.has(target):
            return True
        elif inspect.isclass(target):
            return self._class_uses(target, name)
        else:
            owner = getattr(target, "__self__", None)
            owner = owner if owner is None or inspect.isclass(owner) else type(owner)
            target = function_of(target)
        if not inspect.isfunction(target):
            return True
        node = self.sources.definition(target)
        return not isinstance(node, AnyFunction) or self._reaches(_scope(target, node, owner, owner), name)

    def _class_uses(self, cls: type, name: str) -> bool:
        if any("__new__" in vars(one) for one in cls.__mro__ if self.sources.has(one)):
            return True
        definer = next((one for one in cls.__mro__ if "__init__" in vars(one)), object)
        node = self.sources.definition(definer)
        if not isinstance(node, ast.ClassDef):
            return True
        constructor = method_of(node, "__init__")
        if constructor is not None:
            return self._reaches(_scope(vars(definer)["__init__"], constructor, cls, definer), name)
        if name not in getattr(definer, "__dataclass_fields__", {}):
            return True
        return self._attribute_is_read(cls, name)

    # -- where a variable's value goes -----------------------------------------------------------

    def _reaches(self, scope: _Scope, name: str, followed: frozenset[str] = frozenset()) -> bool:
        """Whether the value of a parameter, or of a variable that it was assigned to, has an effect."""
        arguments = scope.node.args
        named = {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        if not followed and name not in named:
            return arguments.kwarg is None or self._keywords_use(scope, arguments.kwarg.arg, name)
        mentions = [node for node in ast.walk(scope.node) if isinstance(node, ast.Name)]
        if any(node.id == "locals" for node in mentions):
            return True
        parents = parents_of(scope.node)
        effects = {
            self._effect(scope, node, parents, followed | {name})
            for node in mentions
            if node.id == name and isinstance(node.ctx, ast.Load)
        }
        # A value that is validated and then stored unread has no effect; one that is only validated has its purpose.
        return _Effect.ACTS in effects or (_Effect.CHECKS in effects and _Effect.KEPT not in effects)

    def _keywords_use(self, scope: _Scope, keywords: str, name: str) -> bool:
        """Forwarded ``**options``: whether a function that receives them uses this one."""
        parents = parents_of(scope.node)
        for node in ast.walk(scope.node):
            if isinstance(node, ast.Name) and node.id == keywords and isinstance(node.ctx, ast.Load):
                word = parents[node]
                call = parents.get(word)
                is_passed_on = isinstance(word, ast.keyword) and word.arg is None and isinstance(call, ast.Call)
                callee = self._callee(scope, call.func) if is_passed_on and isinstance(call, ast.Call) else None
                if callee is None or self.is_used(callee, name):
                    return True
        return False

    def _effect(
        self, scope: _Scope, node: ast.Name, parents: Mapping[ast.AST, ast.AST], followed: frozenset[str]
    ) -> _Effect:
        """Follows one use of a variable outwards to its statement."""
        here: ast.AST = node
        outer = parents[node]
        if isinstance(_statement_of(node, parents), ast.Raise):
            return _Effect.CHECKS  # used in a message
        while isinstance(outer, ast.expr | ast.keyword | ast.comprehension):
            if isinstance(outer, ast.Call):
                word = here if isinstance(here, ast.keyword) else None
                is_conversion = isinstance(outer.func, ast.Name) and outer.func.id in _CONVERSIONS
                if here is outer.func or not is_conversion:
                    acts = here is outer.func or self._callee_uses(scope, outer, here, word)
                    return _Effect.ACTS if acts else _Effect.NONE
            elif isinstance(outer, ast.Lambda | ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
                return _Effect.ACTS
            here, outer = outer, parents[outer]
        if isinstance(outer, ast.Assign | ast.AnnAssign | ast.AugAssign) and here is outer.value:
            targets = outer.targets if isinstance(outer, ast.Assign) else [outer.target]
            flows = any(self._flows(scope, target, here, node, followed) for target in targets)
            return _Effect.ACTS if flows else _Effect.KEPT
        if isinstance(outer, ast.If | ast.Assert) and _checks_itself(scope, outer, node.id):
            return _Effect.CHECKS
        return _Effect.NONE if isinstance(outer, ast.Expr) and here is node else _Effect.ACTS

    def _flows(self, scope: _Scope, target: ast.expr, value: ast.AST, node: ast.AST, followed: frozenset[str]) -> bool:
        """Whether the assigned value has an effect later."""
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            inside = next(number for number, item in enumerate(value.elts) if node in set(ast.walk(item)))
            return self._flows(scope, target.elts[inside], value.elts[inside], node, followed)
        if isinstance(target, ast.Name):
            is_outside = any(
                isinstance(one, ast.Global | ast.Nonlocal) and target.id in one.names for one in ast.walk(scope.node)
            )
            return is_outside or (target.id not in followed and self._reaches(scope, target.id, followed))
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and scope.owner is not None:
            return target.value.id != scope.own_name or self._attribute_is_read(scope.owner, target.attr)
        return True

    # -- calls -----------------------------------------------------------------------------------

    def _callee_uses(self, scope: _Scope, call: ast.Call, argument: ast.AST, word: ast.keyword | None) -> bool:
        callee = self._callee(scope, call.func)
        if callee is None:
            return True
        if word is not None:
            return word.arg is None or self.is_used(callee, word.arg)
        if any(isinstance(one, ast.Starred) for one in call.args):
            return True
        try:
            signature = inspect.signature(callee.function if isinstance(callee, _Method) else callee)
        except (TypeError, ValueError):
            return True
        names = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
        names = names[1:] if isinstance(callee, _Method) else names
        number = next((n for n, one in enumerate(call.args) if one is argument), len(names))
        if number >= len(names) or names[number].kind is inspect.Parameter.VAR_POSITIONAL:
            return True
        return self.is_used(callee, names[number].name)

    def _callee(self, scope: _Scope, function: ast.expr) -> Any:
        """The function called, if the source determines it and it belongs to the packages; else None."""
        if isinstance(function, ast.Name):
            found = scope.names.get(function.id)
        elif isinstance(function, ast.Attribute):
            found = self._of_class(scope, function)
        else:
            return None
        known = found.function if isinstance(found, _Method) else _unwrapped(found)
        return found if found is not None and self.sources.has(known) else None

    @staticmethod
    def _of_class(scope: _Scope, function: ast.Attribute) -> Any:
        whose = function.value
        if isinstance(whose, ast.Name) and scope.owner is not None and whose.id == scope.own_name:
            found = inspect.getattr_static(scope.owner, function.attr, None)
            return _Method(scope.owner, found) if inspect.isfunction(found) else None
        is_super = isinstance(whose, ast.Call) and isinstance(whose.func, ast.Name) and whose.func.id == "super"
        if is_super and function.attr == "__init__" and scope.owner is not None and scope.definer is not None:
            order = scope.owner.__mro__
            rest = order[order.index(scope.definer) + 1 :]
            return next((one for one in rest if "__init__" in vars(one)), None)
        return None

    # -- attributes ------------------------------------------------------------------------------

    def _attribute_is_read(self, cls: type, name: str) -> bool:
        if (cls, name) not in self._attributes:
            self._attributes[cls, name] = self._is_read(cls, name)
        return self._attributes[cls, name]

    def _is_read(self, cls: type, name: str) -> bool:
        if self.read_elsewhere(name) or isinstance(inspect.getattr_static(cls, name, None), property):
            return True
        bases = [one for one in cls.__mro__ if one is not object]
        nodes = [self.sources.definition(one) for one in bases if self.sources.has(one)]
        family = [node for node in nodes if isinstance(node, ast.ClassDef)]
        family += self.sources.subclasses({node.name for node in family})
        if any(_reads_itself_whole(node) for node in family) or any(_reads(node, name) for node in family):
            return True
        foreign = (one for one in bases if not self.sources.has(one))
        if any(self.sources.mentions(one, name) for one in foreign):
            return True
        return any(_reads(tree, name, of_others=True) for tree in self.sources.mentioning(name))


def _unwrapped(target: Any) -> Any:
    while isinstance(target, functools.partial):
        target = target.func
    return inspect.unwrap(target) if callable(target) else target


def _scope(function: Any, node: AnyFunction, owner: type | None, definer: type | None) -> _Scope:
    function = function_of(function)
    module = sys.modules.get(getattr(function, "__module__", ""))
    return _Scope({**vars(builtins), **vars(module)} if module is not None else {}, node, owner, definer)


def _statement_of(node: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> ast.AST:
    while not isinstance(node, ast.stmt):
        node = parents[node]
    return node


def _checks_itself(scope: _Scope, statement: ast.If | ast.Assert, variable: str) -> bool:
    """Validation of the value alone (``if width < 1: raise``), or its replacement by a default."""
    bound = {node.arg for node in ast.walk(scope.node) if isinstance(node, ast.arg)}
    bound |= {n.id for n in ast.walk(scope.node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    mentioned = {node.id for node in ast.walk(statement.test) if isinstance(node, ast.Name)}
    if mentioned & bound - {variable}:
        return False
    if isinstance(statement, ast.Assert):
        return True
    return all(isinstance(one, ast.Raise) or _sets_only(one, variable) for one in statement.body)


def _sets_only(statement: ast.stmt, variable: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return bool(targets) and all(isinstance(one, ast.Name) and one.id == variable for one in targets)


def _reads(tree: ast.AST, name: str, of_others: bool = False) -> bool:
    """Whether code reads an attribute, of any object or only of objects other than ``self``."""
    for node in _acting(tree):
        if isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Load):
            if not (of_others and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in ("getattr", "hasattr", "attrgetter") and any(
                isinstance(one, ast.Constant) and one.value == name for one in node.args
            ):
                return True
    return False


@functools.cache
def _acting(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes except those of methods that only display the object."""
    waiting, acting = [tree], []
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.FunctionDef) and node.name in _DISPLAYS):
            acting.append(node)
            waiting.extend(ast.iter_child_nodes(node))
    return tuple(acting)


@functools.cache
def _reads_itself_whole(node: ast.ClassDef) -> bool:
    """``vars(self)``, ``self.__dict__``, ``asdict(self)``, ``fields(self)``, ``replace(self, …)``."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and inner.attr == "__dict__":
            return True
        if isinstance(inner, ast.Call) and any(isinstance(one, ast.Name) and one.id == "self" for one in inner.args):
            called = inner.func.attr if isinstance(inner.func, ast.Attribute) else getattr(inner.func, "id", "")
            if called in ("vars", "asdict", "astuple", "fields", "replace"):
                return True
    return False
