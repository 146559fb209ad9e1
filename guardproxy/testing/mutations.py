"""Answers that no honest server sends: an honest stream with something wrong in it.

`neighbours` goes through the single faults one by one, `mutate` puts any number of them together by chance.
"""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from guardproxy.stream.frame import DONE, Frame
from guardproxy.testing.script import Tree

Path = tuple[str | int, ...]

_WORDS = ("sh", "", "0", "other", "assistant", "user", "tool", "function", "custom", "stop", "error")
_VALUES: tuple[Any, ...] = (None, True, 0, 1, 2, -1, 1.0, "", "sh", [], {}, [{}])


def neighbours(frames: Sequence[Frame]) -> Iterator[tuple[str, list[Frame]]]:
    """Every stream that is one fault away, and what the fault is."""
    for place, frame in enumerate(frames):
        before, after = list(frames[:place]), list(frames[place + 1 :])
        yield f"{place} left out", before + after
        yield f"{place} twice", [*before, frame, frame, *after]
        yield f"{place} again at the end", [*frames, frame]
        if after:
            yield f"{place} late", [*before, after[0], frame, *after[1:]]
        if frame.tree is None:
            continue
        yield f"{place} under another event name", [*before, frame._replace(event="other"), *after]
        for path, changed in _other_values(frame):
            yield f"{place} with another {path}", [*before, changed, *after]
            yield f"{place} and then another {path}", [*before, frame, changed, *after]


def _other_values(frame: Frame) -> Iterator[tuple[str, Frame]]:
    for path in _leaves(frame.tree):
        name = ".".join(map(str, path))
        value = _at(frame.tree, path)
        if isinstance(value, str):
            yield name, _with(frame, path, "other")
        elif type(value) is int:
            yield name, _with(frame, path, value + 1)
        yield f"{name} missing", _without(frame, path)
        yield f"{name} respelled", _respelled(frame, path)


def mutate(frames: Sequence[Frame], source: random.Random) -> list[Frame]:
    """The stream with one to three faults. The frames that came are not changed."""
    changed = list(frames)
    for _ in range(source.choice((1, 1, 1, 2, 2, 3))):
        if changed:
            source.choice(_FAULTS)(changed, source)
    return changed


def one_text_apart(frame: Frame, other: Frame) -> bool:
    """Whether nothing is different but one string, which the first has in place of the other's value or in addition."""
    here, there = ({path: repr(_at(f.tree, path)) for path in _leaves(f.tree)} for f in (frame, other))
    apart = [path for path in here.keys() | there.keys() if here.get(path) != there.get(path)]
    return frame.event == other.event and len(apart) == 1 and apart[0] in here and _is_text(frame, apart[0])


def _is_text(frame: Frame, path: Path) -> bool:
    return isinstance(_at(frame.tree, path), str)


def _leaves(tree: object, path: Path = ()) -> Iterator[Path]:
    match tree:
        case dict() if tree:
            for name, value in tree.items():
                yield from _leaves(value, (*path, name))
        case list() if tree:
            for place, value in enumerate(tree):
                yield from _leaves(value, (*path, place))
        case _ if path:
            yield path
        case _:
            pass


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _copied(frame: Frame) -> tuple[Frame, Tree]:
    tree: Tree = copy.deepcopy(dict(frame.tree or {}))
    return frame._replace(tree=tree), tree


def _with(frame: Frame, path: Path, value: Any) -> Frame:
    changed, tree = _copied(frame)
    _at(tree, path[:-1])[path[-1]] = value
    return changed


def _without(frame: Frame, path: Path) -> Frame:
    changed, tree = _copied(frame)
    del _at(tree, path[:-1])[path[-1]]
    return changed


def _respelled(frame: Frame, path: Path) -> Frame:
    """The nearest member above the leaf, in another case."""
    changed, tree = _copied(frame)
    while not isinstance(path[-1], str):
        path = path[:-1]
    parent, name = _at(tree, path[:-1]), path[-1]
    parent[name.capitalize()] = parent.pop(name)
    return changed


# --- by chance ---------------------------------------------------------------------------------------------------

Fault = Callable[[list[Frame], random.Random], None]


def _leave_out(frames: list[Frame], source: random.Random) -> None:
    del frames[source.randrange(len(frames))]


def _repeat(frames: list[Frame], source: random.Random) -> None:
    frames.insert(source.randrange(len(frames) + 1), source.choice(frames))


def _swap(frames: list[Frame], source: random.Random) -> None:
    a, b = source.randrange(len(frames)), source.randrange(len(frames))
    frames[a], frames[b] = frames[b], frames[a]


def _cut_off(frames: list[Frame], source: random.Random) -> None:
    del frames[source.randrange(len(frames)) :]


def _end_early(frames: list[Frame], source: random.Random) -> None:
    frames.insert(source.randrange(len(frames)), DONE)


def _rename_event(frames: list[Frame], source: random.Random) -> None:
    place = source.randrange(len(frames))
    names = [frame.event for frame in frames]
    frames[place] = frames[place]._replace(event=source.choice([*names, None, "error", "message"]))


def _change(frames: list[Frame], source: random.Random) -> None:
    """Something within one frame."""
    place = source.randrange(len(frames))
    frame, tree = _copied(frames[place])
    parent, name = _any_member(tree, source)
    if parent is None:
        return
    source.choice(_CHANGES)(parent, name, frames, source)
    changed = frame._replace(tree=tree)
    if source.randrange(3):
        frames[place] = changed
    else:
        frames.insert(place + 1, changed)


def _any_member(tree: Any, source: random.Random) -> tuple[Any, Any]:
    """A random member of a random object or list in a tree."""
    parent, name = None, None
    while isinstance(tree, (dict, list)) and tree:
        parent = tree
        name = source.choice(list(tree)) if isinstance(tree, dict) else source.randrange(len(tree))
        tree = tree[name]
        if isinstance(tree, (dict, list)) and source.random() < 0.15:
            break
    return parent, name


Change = Callable[[Any, Any, list[Frame], random.Random], None]


def _set_value(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    parent[name] = copy.deepcopy(source.choice(_VALUES))


def _set_word(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    parent[name] = source.choice(_WORDS)


def _set_number(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    value = parent[name]
    parent[name] = value + source.choice((-1, 1)) if type(value) is int else source.randrange(4)


def _transplant(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    """Something from elsewhere in the stream, under this name or under its own."""
    other, from_name = _any_member(source.choice(frames).tree, source)
    if other is None:
        return
    value = copy.deepcopy(other[from_name])
    if isinstance(parent, dict) and isinstance(from_name, str) and source.random() < 0.5:
        parent[from_name] = value
    else:
        parent[name] = value


def _remove(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    del parent[name]


def _respell(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    if isinstance(name, str) and name:
        other = source.choice((name.capitalize(), name.upper(), name + " ", name.replace("_", "")))
        parent[other] = parent.pop(name) if source.random() < 0.5 else copy.deepcopy(parent[name])


def _wrap(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    parent[name] = source.choice((lambda v: [v], lambda v: {"chunk": v}, lambda v: [v, copy.deepcopy(v)]))(parent[name])


def _double(parent: Any, name: Any, frames: list[Frame], source: random.Random) -> None:
    if isinstance(parent, list):
        parent.insert(source.randrange(len(parent) + 1), copy.deepcopy(parent[name]))


_CHANGES: Sequence[Change] = (
    *(_set_value, _set_word, _set_number, _set_number),
    *(_transplant, _transplant, _transplant, _remove, _remove, _respell, _wrap, _double),
)
_FAULTS: Sequence[Fault] = (_leave_out, _repeat, _swap, _cut_off, _end_early, _rename_event, *[_change] * 12)
