"""The fuzzers run, on fixed seeds and for a moment; a longer run is a command of its own."""

import importlib.util
import sys
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
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


decoders = _load("fuzz_decoders")
leaks = _load("fuzz_leaks")


@pytest.mark.parametrize("target", sorted(decoders.TARGETS))
def test_random_inputs(target: str) -> None:
    assert decoders.run(target, 0.3, seed=1) > 10


@pytest.mark.parametrize("target", sorted(decoders.TARGETS))
def test_honest_inputs(target: str) -> None:
    call, seeds = decoders.TARGETS[target]
    for data in seeds:
        call(data)


@given(st.binary(max_size=200), st.sampled_from(sorted(decoders.TARGETS)))
def test_any_bytes(data: bytes, target: str) -> None:
    decoders.TARGETS[target][0](data)


@pytest.mark.parametrize("wire", leaks.WIRES, ids=lambda wire: wire.name)
def test_no_leak(wire: object) -> None:
    assert leaks.Fuzzer.of(1, [wire]).run(400) == 400
