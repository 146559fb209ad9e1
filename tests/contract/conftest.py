"""The SDKs that the contracts are held against: those beside the proxy, and the newest ones."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_READER = Path(__file__).with_name("sdk_types.py")
NEWEST = Path(sys.prefix) / "sdk"  # `make install` puts them there


@cache
def _read(directory: str) -> dict[str, Any]:
    """In a process of its own: one process can hold but one version of a package."""
    done = subprocess.run([sys.executable, "-I", str(_READER), directory], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(params=["installed", "newest"])
def sdk(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The SDKs' versions, and the names that they know by surface and section."""
    if request.param == "installed":
        return _read("")
    if not NEWEST.is_dir():
        pytest.skip("`make install` fetches the newest SDKs")
    return _read(str(NEWEST))
