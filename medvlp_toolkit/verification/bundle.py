"""``medvlp verify``: reports all mistakes of a bundle that can be found without running it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medvlp_toolkit.verification.bundle_files import check_large_files, check_layout, check_weights
from medvlp_toolkit.verification.composition import COMMAND_LINE, SEPARATOR, Composition, as_path, compose
from medvlp_toolkit.verification.expressions import check_names, read_expressions
from medvlp_toolkit.verification.located_file import SUFFIXES, IdPath, LocatedFile, read_located
from medvlp_toolkit.verification.metadata import check_metadata
from medvlp_toolkit.verification.modules import Modules
from medvlp_toolkit.verification.moved_ids import instead_of
from medvlp_toolkit.verification.old_paths import old_paths
from medvlp_toolkit.verification.parameter_use import ParameterUse
from medvlp_toolkit.verification.paths import check_paths
from medvlp_toolkit.verification.problem import Problem, nearest_id, shown
from medvlp_toolkit.verification.references import (
    missing_references,
    reached,
    reference_count,
    references_in,
    report_circles,
    report_missing,
)
from medvlp_toolkit.verification.requirements import check_requirements
from medvlp_toolkit.verification.strict import check_strictly, is_allowed
from medvlp_toolkit.verification.targets import Targets
from medvlp_toolkit.verification.unread_ids import UnreadIds
from medvlp_toolkit.verification.unused_arguments import check_unused_arguments, parameter_use
from medvlp_toolkit.verification.workflow_ids import (
    KNOWN_IDS,
    RUN_IDS,
    check_required_ids,
    properties,
    workflow_kind,
)

METADATA = "metadata.json"
#: A file that defines less than this share of its references is an overlay.
_OVERLAY_SHARE = 0.3


@dataclass
class Verification:
    """The result: ``problems`` to fix, ``notices`` for information, and the checked ``compositions``."""

    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    compositions: list[list[str]] = field(default_factory=list)


def verify_bundle(
    bundle: str | Path,
    config_files: Sequence[str | Path] = (),
    settings: Mapping[str, Any] | None = None,
    strict: bool = False,
) -> Verification:
    """Check a bundle.

    Args:
        bundle: its folder.
        config_files: composed in this order; without them every configuration of the bundle is checked, and overlays
            together with the file that defines most of their references.
        settings: overrides by id, as on the command line.
        strict: reject anything not known to be harmless, see :mod:`medvlp_toolkit.verification.strict`.

    Raises:
        FileNotFoundError: when there is no such folder or configuration.
    """
    folder = Path(bundle)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the folder of a bundle, which holds configs/")
    return _Verifier(folder, strict).verify([Path(name) for name in config_files], dict(settings or {}))


class _Verifier:
    def __init__(self, bundle: Path, strict: bool) -> None:
        self.bundle, self.strict = bundle, strict
        self.modules = Modules(bundle, is_allowed if strict else None)
        self.targets = Targets(self.modules)
        self.found = Verification()
        self.metadata: LocatedFile | None = None
        self.files: dict[str, LocatedFile] = {}

    def verify(self, given: Sequence[Path], settings: dict[str, Any]) -> Verification:
        problems = self.found.problems
        problems += check_layout(self.bundle)
        problems += check_weights(self.bundle)
        self._read_files(given)
        for file in self.files.values():
            problems += file.problems
        if given:
            stack = [self.files[self._name(path)] for path in given]
            self._check(stack, settings)
            if self.strict:
                self._check_read({file.name: stack for file in stack})
        else:
            self._check_all(settings)
        self.found.problems = sorted(set(problems))
        self.found.notices = list(dict.fromkeys(self.found.notices))
        return self.found

    # -- files ----------------------------------------------------------------------------------

    def _name(self, path: Path) -> str:
        return shown(path, self.bundle)

    def _read(self, path: Path) -> LocatedFile:
        return read_located(path, self._name(path))

    def _read_files(self, given: Sequence[Path]) -> None:
        for path in given:
            if not path.is_file():
                raise FileNotFoundError(f"{path}: no such configuration; name a .yaml or .json file")
            if path.suffix.lower() not in SUFFIXES:
                raise ValueError(f"{path}: expected a .yaml, .yml or .json file")
        configs = self.bundle / "configs"
        there = sorted(p for p in configs.rglob("*") if p.suffix.lower() in SUFFIXES and p.name != METADATA)
        for path in [*given, *(there if not given else [])]:
            self.files[self._name(path)] = self._read(path)
        self.others = self.files if not given else {self._name(path): self._read(path) for path in there}
        if (configs / METADATA).is_file():
            self.metadata = self._read(configs / METADATA)
            self.found.problems += self.metadata.problems
            problems, notices = check_metadata(self.metadata)
            self.found.problems += problems
            self.found.notices += notices
        for path in sorted(self.bundle.glob("large_files.*")):
            if path.suffix.lower() in SUFFIXES:
                file = self._read(path)
                self.found.problems += [*file.problems, *check_large_files(file)]

    # -- overlays and their bases ---------------------------------------------------------------

    def _check_all(self, settings: dict[str, Any]) -> None:
        readable = [file for file in self.files.values() if isinstance(file.value, dict)]
        for file in self.files.values():
            if file.value is not None and not isinstance(file.value, dict):
                self.found.problems.append(Problem(file.name, 1, "", "holds no ids", "a configuration is a mapping"))
        lacking = {file.name: self._lacking(file) for file in readable}
        bases = [file for file in readable if not self._is_overlay(file, *lacking[file.name])]
        stacks = {file.name: [file] for file in bases}
        for file in bases:
            self._check([file], {})
        for file in readable:
            if file not in bases:
                under = self._base_of(file, bases)
                stacks[file.name] = [file] if under is None else [under, file]
                self._check(stacks[file.name], {}, only=file.name)
        if self.strict:
            self._check_read(stacks)
        for key, value in settings.items():
            self._check_setting(key, value, bases or readable)

    def _base_of(self, overlay: LocatedFile, bases: Sequence[LocatedFile]) -> LocatedFile | None:
        """The base of an overlay: a configuration of its bundle, else of a neighbouring bundle."""
        ranked = [(self._strangeness(base, overlay), base) for base in bases]
        if not any(strangeness[0] == 0 for strangeness, _ in ranked):
            ranked += [(self._strangeness(base, overlay), base) for base in self._beside]
        return min(ranked, key=lambda pair: pair[0])[1] if ranked else None

    @cached_property
    def _beside(self) -> list[LocatedFile]:
        """Runnable configurations of the bundles in the same folder."""
        found = []
        for path in sorted(self.bundle.resolve().parent.glob("*/configs/*")):
            inside = self.bundle.resolve() in path.parents
            if not inside and path.suffix.lower() in SUFFIXES and path.name != METADATA:
                file = read_located(path, str(path))
                if isinstance(file.value, dict) and "run" in file.value:
                    found.append(file)
        return found

    def _check_setting(self, key: str, value: Any, bases: Sequence[LocatedFile]) -> None:
        """An override is for whichever configuration is run, so one of them must have the id."""
        compositions = [compose([file], {}) for file in bases]
        takes = [one for one in compositions if accepts_override(one, key)]
        if not takes:
            ids = set().union(*(one.ids() for one in compositions)) if compositions else set()
            self.found.problems.append(unknown_override(key, ids, ["any configuration of the bundle"]))
        else:
            file = next(file for file, one in zip(bases, compositions, strict=True) if one is takes[0])
            self._check([file], {key: value}, only=COMMAND_LINE)

    def _lacking(self, *files: LocatedFile) -> tuple[int, int]:
        """The unresolved references of the last file, and all of its references."""
        return self._lacking_in(compose(files), files), reference_count(compose([files[-1]]))

    def _lacking_in(self, composition: Composition, files: Sequence[LocatedFile]) -> int:
        missing = missing_references(self._completed(composition, files))
        return sum(composition.place(path).file == files[-1].name for path, _ in missing)

    def _strangeness(self, base: LocatedFile, overlay: LocatedFile) -> tuple[int, int]:
        """How badly an overlay fits a configuration; the lowest is its base."""
        composition = compose([base, overlay])
        misfits = [p for p in composition.problems if p.file == overlay.name]
        shared = {str(key).lstrip("+") for key in overlay.value} & {str(key) for key in base.value}
        return self._lacking_in(composition, [base, overlay]) + len(misfits), -len(shared)

    def _is_overlay(self, file: LocatedFile, lacking: int, references: int) -> bool:
        if any(str(key).startswith("+") for key in file.value) or compose([file]).problems:
            return True
        if file.path.stem in ("train", "inference"):
            return False
        if "run" not in file.value:
            runs = (value for key, value in file.value.items() if key not in ("initialize", "finalize"))
            return lacking > 0 or not any(map(self._runs, runs))
        return lacking > _OVERLAY_SHARE * max(references, 1)

    @staticmethod
    def _runs(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v.startswith("$") for v in value)

    def _composed(self, files: Sequence[LocatedFile], settings: Mapping[str, Any]) -> Composition:
        return self._completed(compose(files, settings), files)

    def _completed(self, composition: Composition, files: Sequence[LocatedFile]) -> Composition:
        """With the metadata, and its macros resolved."""
        metadata = self.metadata.value if self.metadata is not None else None
        composition.config.setdefault("_meta_", metadata if isinstance(metadata, dict) else {})
        composition.resolve_macros([Path(), self.bundle, *{file.path.parent for file in files}])
        return composition

    # -- one composition ------------------------------------------------------------------------

    def _check(self, files: Sequence[LocatedFile], settings: Mapping[str, Any], only: str = "") -> None:
        composition = compose(files)
        for key in settings:
            if not accepts_override(composition, key):
                self.found.problems.append(unknown_override(key, composition.ids(), [file.name for file in files]))
        composition = self._composed(files, {k: v for k, v in settings.items() if accepts_override(composition, k)})
        self.found.compositions.append([file.name for file in files])
        first = files[0].name
        needed = _Needed(composition)

        def excused(path: IdPath, name: str, known: Container[str]) -> bool:
            # An overlay for several configurations may contain ids that only one of them reads.
            return name in known and composition.place(path).file != first and path not in needed

        missing = missing_references(composition)
        report_missing(composition, [one for one in missing if not excused(*one, self._elsewhere)])
        report_circles(composition)
        expressions = read_expressions(composition)
        check_names(composition, expressions, self.modules, lambda path, name: excused(path, name, self._imports))
        expressions.imported = {**self._imports, **expressions.imported}
        self.targets.check(composition)
        check_requirements(composition)
        kind = workflow_kind(composition, files[0].path.stem)
        if kind is not None and not only:
            check_required_ids(composition, kind)
        self.found.notices += check_paths(composition, self.bundle)
        self.found.notices += old_paths(composition, expressions)
        if self.strict:
            check_strictly(composition, expressions, self.targets)
            check_unused_arguments(composition, expressions, self.targets, self._uses)
        self._check_unread(files, composition)
        self.found.problems += [p for p in composition.problems if not only or p.file == only]

    def _check_read(self, stacks: Mapping[str, Sequence[LocatedFile]]) -> None:
        """With ``strict``: every id that a file sets must be read in one of its possible stacks."""
        readable = [file for file in self.others.values() if isinstance(file.value, dict)]
        bases = [file for file in readable if not self._is_overlay(file, *self._lacking(file))]
        overlays = [file for file in readable if file not in bases]
        unread = UnreadIds([*bases, *self._beside], overlays, lambda stack: self._composed(stack, {}))
        for name, stack in stacks.items():
            self.found.problems += unread.check(self.files[name], stack)

    def _check_unread(self, files: Sequence[LocatedFile], composition: Composition) -> None:
        """Ids that an overlay sets although no file has or refers to them: typing errors."""
        files = [file for file in files if isinstance(file.value, dict)]
        alone = len(files) == 1 and self._is_overlay(files[0], *self._lacking(files[0]))
        referred = {
            wanted.partition(SEPARATOR)[0]
            for one in [composition, *(compose([file]) for file in files)]
            for _, value in one.walk()
            if isinstance(value, str)
            for wanted in [*references_in(value), *([value[1:]] if value.startswith("%") else [])]
        }
        for file in files if alone else files[1:]:
            beside = [one for one in self._beside if one.path.parent == files[0].path.parent] if files else []
            others = [other for other in [*self.others.values(), *files, *beside] if other.name != file.name]
            known = {str(key).lstrip("+") for other in others if isinstance(other.value, dict) for key in other.value}
            known |= KNOWN_IDS | {as_path(id_)[0] for id_ in (*properties("train"), *properties("infer"))}
            for key, value in file.value.items():
                name = str(key).lstrip("+")
                if len(as_path(name)) > 1 or name in known | referred or self._runs(value):
                    continue
                line = file.lines.get((str(key),), 0)
                fix = instead_of(name) or nearest_id(name, known) or "leave it out, or refer to it"
                message = "is set here, and no configuration of the bundle has it or refers to it"
                self.found.problems.append(Problem(file.name, line, name, message, fix))

    @cached_property
    def _uses(self) -> ParameterUse:
        return parameter_use(self.others.values())

    @cached_property
    def _elsewhere(self) -> set[str]:
        """Every id of any configuration of the bundle."""
        ids: set[str] = set().union(*(compose([file]).ids() for file in self.others.values()))
        return ids | {id_.removeprefix("+") for id_ in ids}

    @cached_property
    def _imports(self) -> dict[str, str]:
        """Every name that any configuration of the bundle imports, with its dotted path."""
        made: dict[str, str] = {}
        for file in self.others.values():
            made |= read_expressions(compose([file])).imported
        return made


class _Needed:
    """Paths of a composition that running it resolves."""

    def __init__(self, composition: Composition, roots: Iterable[str] = RUN_IDS) -> None:
        self.ids = reached(composition, roots)

    def __contains__(self, path: IdPath) -> bool:
        return any(SEPARATOR.join(path[:length]) in self.ids for length in range(1, len(path) + 1))


def accepts_override(composition: Composition, key: str) -> bool:
    """Whether a configuration has the id, or it is a further argument of something that the configuration builds."""
    path = as_path(key)
    if path in composition or path[0] in KNOWN_IDS:
        return True
    parent = composition.get(path[:-1]) if len(path) > 1 else None
    if isinstance(parent, dict) and "_target_" in parent:
        return True
    # An override may supply an id that is referred to but missing.
    if len(path) == 1:
        return any(key in references_in(value) for _, value in composition.walk() if isinstance(value, str))
    return False


def unknown_override(key: str, ids: Iterable[str], files: Sequence[str]) -> Problem:
    """Reject an override of an unknown id, which MONAI would add and never read."""
    name = SEPARATOR.join(as_path(key))
    message = f"no id '{name}' in {', '.join(files) or 'the bundle'}"
    fix = instead_of(name) or nearest_id(name, ids) or "look for the id in the configuration"
    return Problem(COMMAND_LINE, 0, name, message, fix)
