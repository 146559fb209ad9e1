import os
import sys
from pathlib import Path

import pytest

from bench.proxy import Recipe, StartError, clean_environment, pinned, start


def test_the_environment_cannot_configure_the_server() -> None:
    given = {"PATH": "/bin", "GUARDPROXY_CONFIG": "x", "OPENAI_BASE_URL": "x", "https_proxy": "x", "HOME": "/root"}
    cleaned = clean_environment(given, Path("/state"))
    assert set(cleaned) == {"PATH", "HOME", "PYTHONPATH", "XDG_STATE_HOME"}
    assert cleaned["XDG_STATE_HOME"] == "/state"


def test_a_server_that_dies_says_why(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with pytest.raises(StartError, match="no such option: 7"):
        start(Recipe("broken", f"{sys.executable} -c \"raise SystemExit('no such option: 7')\""), "", core, tmp_path)


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with pinned(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
