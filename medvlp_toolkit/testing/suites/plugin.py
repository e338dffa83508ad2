"""Tests of plugins of any kind, and the reporting of failures."""

from __future__ import annotations

import inspect
import json
import pickle
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import yaml

import medvlp_toolkit as mv
from medvlp_toolkit.data.contracts import Fingerprinted
from medvlp_toolkit.docstring import example_of, has_example, undocumented_arguments
from medvlp_toolkit.registry import PluginError, Registry


class PluginSuite:
    """Base of the suites. A subclass whose name begins with ``Test`` and that sets ``plugin`` is run by pytest.

    Attributes:
        plugin: the name in the registry, or ``distribution:name``.
        arguments: arguments of the plugin; override :meth:`build` if that is not enough.
    """

    kind: ClassVar[str]
    plugin: ClassVar[str]
    arguments: ClassVar[Mapping[str, Any]] = {}

    # -- for subclasses -----------------------------------------------------------------------

    def build(self) -> Any:
        """The plugin as a recipe would build it."""
        return self.target(**self.arguments)

    # -- for the suites -----------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        return mv.registries[self.kind]

    @property
    def target(self) -> Any:
        """The plugin's class or function."""
        try:
            return self.registry[self.plugin]
        except PluginError as error:
            self.fail(str(error))

    def built(self) -> Any:
        """The result of :meth:`build`; fails with a sentence if it raises."""
        with self.doing(f"building it with {_shown(self.arguments)}"):
            return self.build()

    def fail(self, sentence: str) -> NoReturn:
        pytest.fail(f"{self.kind} plugin '{getattr(self, 'plugin', '?')}': {sentence}", pytrace=False)

    def check(self, condition: object, sentence: str) -> None:
        """Fail with ``sentence`` unless ``condition`` holds."""
        if not condition:
            self.fail(sentence)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Turn an exception of the plugin into a sentence with the attempted operation and the line."""
        try:
            yield
        except Exception as error:
            frame = self._frame_of(error)
            message = " ".join(str(error).split())
            self.fail(f"{what} raised {type(error).__name__}: {message} ({frame.filename}:{frame.lineno})")

    @contextmanager
    def refusing(self, what: str, *error_types: type[Exception]) -> Iterator[list[str]]:
        """Fail unless one of ``error_types`` is raised; its message is then in the list."""
        expected = " or ".join(error_type.__name__ for error_type in error_types)
        message: list[str] = []
        try:
            yield message
        except error_types as error:
            message.append(str(error))
            self.check(str(error).strip(), f"{what} is refused without a message")
            return
        except Exception as error:
            self.fail(f"{what} raised {type(error).__name__}: {error}; expected {expected} with what to do")
        self.fail(f"{what} was accepted; expected {expected}")

    def _frame_of(self, error: Exception) -> traceback.FrameSummary:
        """The innermost line of the plugin's own package, else the innermost of all."""
        frames = traceback.extract_tb(error.__traceback__)
        try:
            home = Path(inspect.getsourcefile(self.target) or "").parent
        except (TypeError, OSError):
            return frames[-1]
        own = [frame for frame in frames if home in Path(frame.filename).parents]
        return own[-1] if own else frames[-1]

    # -- the rules ----------------------------------------------------------------------------

    def test_is_registered_under_its_name(self) -> None:
        if not hasattr(self, "plugin"):
            self.fail(f"set `plugin` in {type(self).__name__} to the name it is registered under")
        self.check(callable(self.target), f"it is {type(self.target).__name__}; expected a class or function")
        with self.doing(f"{self.kind}.describe('{self.plugin}')"):
            self.registry.describe(self.plugin)

    def test_builds(self) -> None:
        self.check(self.built() is not None, "building it gave None")

    def test_documentation_has_a_summary_and_an_example(self) -> None:
        documentation = inspect.getdoc(self.target) or ""
        summary = documentation.partition("\n")[0].strip()
        own = self.target.__doc__ if inspect.isclass(self.target) else documentation
        self.check(own and summary, "it has no docstring; its first line should say what the plugin does")
        self.check(
            has_example(documentation), "its docstring has no 'Example' block; show the YAML, or the call, to use it"
        )

    def test_documentation_names_every_argument(self) -> None:
        missing = undocumented_arguments(self.target)
        self.check(not missing, f"its docstring does not name the arguments {', '.join(missing)}")

    def test_example_is_yaml_that_addresses_this_plugin(self) -> None:
        example = example_of(inspect.getdoc(self.target) or "")
        if example is None or "_target_" not in example:
            return  # a call in Python is an example too
        with self.doing("reading the YAML of its example"):
            parsed = yaml.safe_load(example)
        targets = re.findall(r"_target_:\s*(\S+)", example)
        name = self.plugin.rpartition(":")[2]
        own = {f"medvlp_toolkit.{self.kind}.{name}", self.registry.ref(self.plugin).import_path}
        self.check(
            isinstance(parsed, dict) and own & set(targets),
            f"its example addresses {', '.join(targets)}; expected _target_: medvlp_toolkit.{self.kind}.{name}",
        )

    # -- shared by several kinds --------------------------------------------------------------

    def check_pickles(self, instance: Any) -> Any:
        """The instance after a pickle round trip, as worker processes receive it."""
        with self.doing("pickling it and reading it back, as worker processes need"):
            return pickle.loads(pickle.dumps(instance))

    def check_fingerprint(self) -> None:
        """The fingerprint that a store keeps of its inputs: plain data, equal for two instances built alike."""
        one, other = self.built(), self.built()
        if not isinstance(one, Fingerprinted):
            return
        with self.doing("writing its `fingerprint` as JSON"):
            written = json.dumps(one.fingerprint, sort_keys=True)
        self.check(
            written == json.dumps(other.fingerprint, sort_keys=True),
            "two instances built alike have different fingerprints: an interrupted preparation would start over",
        )

    def check_unique_names(self, names: Any, attribute: str) -> None:
        with self.doing(f"reading its `{attribute}`"):
            listed = list(names)
        self.check(
            not isinstance(names, str) and all(isinstance(name, str) and name for name in listed),
            f"`{attribute}` holds something other than non-empty strings",
        )
        twice = sorted({name for name in listed if listed.count(name) > 1})
        self.check(not twice, f"`{attribute}` names {', '.join(twice)} twice")


def _shown(arguments: Mapping[str, Any]) -> str:
    return "no arguments" if not arguments else f"the arguments {', '.join(arguments)}"
