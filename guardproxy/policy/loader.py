"""Reading packs from files: the only part of the policy that does I/O."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import to_json

from guardproxy.decision import Mode
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.policy.compile import CompiledRule, compile_rule
from guardproxy.policy.engine import BUILT_IN
from guardproxy.policy.names import compile_globs
from guardproxy.policy.policy import PackCase, Policy
from guardproxy.policy.schema import PackModel, RuleModel
from guardproxy.strict_yaml import Document, Place, Plain, scan

_PACKAGE = Path(__file__).resolve().parent.parent
MAX_PACKS = 64

_LIST_NAME = re.compile(r"\$[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class _Pack:
    source: str
    document: Document
    model: PackModel
    parents: tuple["_Pack", ...]

    def scope(self) -> dict[str, Mode]:
        """The rules that the pack's own cases speak of, with their modes in this pack."""
        found = {rule: mode for parent in self.parents for rule, mode in parent.scope().items()}
        return found | {rule.id: rule.mode for rule in self.model.rules} | self.model.modes


@dataclass(slots=True)
class _Loading:
    """Packs in the order in which their rules apply: what a pack extends comes before it."""

    packs: dict[str, _Pack] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    lists: dict[str, Plain] = field(default_factory=dict)


def shipped_packs() -> tuple[str, ...]:
    """The names of the packs that come with guardproxy."""
    return tuple(sorted(path.stem for path in _shipped_directory().glob("*.yaml")))


def load_policy(packs: Sequence[str]) -> Policy:
    """Packs by name (`default`) or by file path, compiled. Raises ConfigurationError with every fault of every file."""
    loading = _Loading()
    if not packs:
        loading.faults.append(Fault("policy", None, "", "no pack is named; use default at least"))
    for name in packs:
        _load(name, Path(), loading)
    rules, tests = _compiled(loading)
    if loading.faults:
        raise ConfigurationError(loading.faults)
    models = [pack.model for pack in loading.packs.values()]
    opaque = tuple(glob for model in models for glob in model.allow_opaque)
    return Policy(
        _revision(models),
        tuple(m.pack for m in models),
        tuple(rules),
        tuple(tests),
        compile_globs(opaque) if opaque else None,
        any(model.hold_text_actions for model in models),
    )


def _shipped_directory() -> Path:
    """Package data of a wheel, or the folder beside the package in a source checkout."""
    packaged = _PACKAGE / "_policies"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "policies"


def _path_of(name: str, beside: Path) -> Path:
    if "/" in name or "\\" in name or name.endswith((".yaml", ".yml")):
        return beside / name
    return _shipped_directory() / f"{name}.yaml"


def _load(name: str, beside: Path, loading: _Loading) -> _Pack | None:
    """The pack, unless something is wrong with it; what it extends is loaded first."""
    path = _path_of(name, beside)
    key = str(path.resolve())
    if key in loading.asked:
        return loading.packs.get(key)
    loading.asked.add(key)
    if len(loading.asked) > MAX_PACKS:
        loading.faults.append(Fault(name, None, "", f"more than {MAX_PACKS} packs"))
        return None
    found = _read(name, path, loading)
    if found is None:
        return None
    source, document = found
    parents: list[_Pack | None] = []
    if isinstance(document.tree, dict):
        parents = [_load(parent, path.parent, loading) for parent in _parents(document.tree)]
        document = replace(document, tree=_with_lists(document, document.tree, loading))
    model = _validated(document, loading.faults)
    if model is None:
        return None
    pack = _Pack(source, document, model, tuple(p for p in parents if p is not None))
    loading.packs[key] = pack
    return pack


def _parents(tree: dict[str, Plain]) -> list[str]:
    extends = tree.get("extends", [])
    return [p for p in (extends if isinstance(extends, list) else [extends]) if isinstance(p, str)]


def _with_lists(document: Document, tree: dict[str, Plain], loading: _Loading) -> Plain:
    """The tree with `$name` in a list replaced by the entries of that list."""
    own = tree.get("lists", {})
    if isinstance(own, dict):
        loading.lists.update(own)

    def filled(node: Plain, place: Place) -> Plain:
        match node:
            case list():
                return [item for i, entry in enumerate(node) for item in spread(entry, (*place, i))]
            case dict():
                return {key: filled(value, (*place, key)) for key, value in node.items()}
            case _:
                return node

    def spread(entry: Plain, place: Place) -> list[Plain]:
        if not isinstance(entry, str) or not _LIST_NAME.fullmatch(entry):
            return [filled(entry, place)]
        if entry[1:] not in loading.lists:
            loading.faults.append(document.fault(place, f"there is no list {entry}"))
            return []
        named = loading.lists[entry[1:]]
        return named if isinstance(named, list) else [named]

    if isinstance(own, dict):  # a list may name one that was written before it
        for name, value in own.items():
            loading.lists[name] = filled(value, ("lists", name))
    return {key: value if key == "lists" else filled(value, (key,)) for key, value in tree.items()}


def _read(name: str, path: Path, loading: _Loading) -> tuple[str, Document] | None:
    try:
        data = path.read_bytes()
    except OSError:
        known = (
            "" if path.suffix and name.endswith(path.suffix) else f"; shipped packs are {', '.join(shipped_packs())}"
        )
        loading.faults.append(Fault(name, None, "", f"cannot be read{known}"))
        return None
    source = str(path) if name.endswith(path.suffix) else f"policies/{name}.yaml"
    try:
        document, faults = scan(data, source)
    except ConfigurationError as error:
        loading.faults.extend(error.faults)
        return None
    loading.faults.extend(faults)
    if document.tree is None:
        loading.faults.append(Fault(source, None, "", "the file is empty"))
        return None
    return source, document


def _validated(document: Document, faults: list[Fault]) -> PackModel | None:
    try:
        return PackModel.model_validate(document.tree)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            faults.append(
                document.fault(_real_place(problem["loc"], document), _worded(problem["type"], problem["msg"]))
            )
        return None


def _real_place(loc: tuple[str | int, ...], document: Document) -> Place:
    """The place in the file: a single value may stand where the model has a list, and unions add their own names."""
    place: Place = ()
    for part in loc:
        if (*place, part) in document.lines or (part == loc[-1] and isinstance(part, str)):
            place = (*place, part)
    return place


def _worded(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    return "is missing" if kind == "missing" else message.removeprefix("Value error, ")


def _compiled(loading: _Loading) -> tuple[list[CompiledRule], list[PackCase]]:
    rules: list[CompiledRule] = []
    tests: list[PackCase] = []
    homes: dict[str, str] = {}
    modes = {rule: mode for pack in loading.packs.values() for rule, mode in pack.model.modes.items()}
    for pack in loading.packs.values():
        for place, model in enumerate(pack.model.rules):
            loading.faults.extend(_duplicate(pack, place, model, homes))
            compiled = compile_rule(model, modes.get(model.id))
            if isinstance(compiled, CompiledRule):
                rules.append(compiled)
            else:
                loading.faults.extend(_fault(pack, ("rules", place, *f.place), f.problem) for f in compiled)
        tests.extend(_cases(pack))
    for pack in loading.packs.values():
        loading.faults.extend(_strange_names(pack, homes))
    return rules, tests


def _cases(pack: _Pack) -> Iterator[PackCase]:
    scope = pack.scope()
    for place, case in enumerate(pack.model.tests):
        yield PackCase(pack.source, pack.document.line_of(("tests", place)), pack.model.pack, case, scope)


def _duplicate(pack: _Pack, place: int, model: RuleModel, homes: dict[str, str]) -> Iterator[Fault]:
    if model.id in homes:
        yield _fault(pack, ("rules", place, "id"), f"rule {model.id!r} is there already, in {homes[model.id]}")
    homes[model.id] = pack.source


def _strange_names(pack: _Pack, known: dict[str, str]) -> Iterator[Fault]:
    """Tests and modes that speak of a rule that does not exist would never notice anything."""
    for rule in pack.model.modes:
        if rule not in known:
            yield _fault(pack, ("modes", rule), "there is no such rule")
    for place, case in enumerate(pack.model.tests):
        if case.rule is not None and case.rule not in known and case.rule not in BUILT_IN:
            yield _fault(pack, ("tests", place, "rule"), "there is no such rule")


def _fault(pack: _Pack, place: Place, problem: str) -> Fault:
    return pack.document.fault(_real_place(place, pack.document), problem)


def _revision(models: Sequence[PackModel]) -> str:
    """Independent of layout, comments and where the files lie."""
    return hashlib.blake2b(to_json([m.model_dump(mode="json") for m in models]), digest_size=6).hexdigest()
