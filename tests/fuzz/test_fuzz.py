"""The fuzz target runs, on a fixed seed and for a moment; a longer run is its own command."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


target = _load("fuzz_stream")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    target.one_input(data)


@pytest.mark.parametrize("seed", range(4))
def test_tokens(seed: int) -> None:
    assert target.run(0.5, seed) > 10
