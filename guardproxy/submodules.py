"""Importing a submodule without what its package imports beside it."""

import importlib
import importlib.util
import sys
from threading import Lock
from types import ModuleType

_loading = Lock()  # of all: while one stands in, another must neither see it nor take it away


def import_alone(package: str, submodule: str) -> ModuleType:
    """`package.submodule`, without running the package's `__init__`. Raises ModuleNotFoundError.

    While it is imported an empty package stands in for the real one, and is taken away again, so that a later import
    of the package works as ever and shares this submodule.
    """
    with _loading:
        return _imported(package, f"{package}.{submodule}")


def _imported(package: str, name: str) -> ModuleType:
    if package in sys.modules:
        return importlib.import_module(name)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"there is no package {package}", name=package)
    stand_in = ModuleType(package)
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules[package] = stand_in
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[package]
