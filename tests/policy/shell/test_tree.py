import subprocess
import sys

import pytest

from guardproxy.policy.shell.tree import TooComplex, never, parse, text_of

LONG = b'for f in *.txt; do cat "$f" | sort -u > out/$f; done\n' * 20  # long enough to be read with a stop signal


@pytest.mark.parametrize("source", [b"echo a b", LONG])
def test_nodes_have_their_text(source: bytes) -> None:
    root = parse("bash", source, never)
    assert text_of(root.children[0]) == source.decode().splitlines()[0]


def test_a_stop_signal_ends_it() -> None:
    with pytest.raises(TooComplex):
        parse("bash", LONG * 50, lambda: True)


def test_a_stack_that_is_full_does_not_end_the_process() -> None:
    """A text that is asked for where no Python call is possible any more."""
    program = f"""
from guardproxy.policy.shell.tree import never, parse, text_of
node = parse("bash", {LONG!r}, never).children[3]
def deep(n):
    return deep(n - 1) if n else text_of(node)
for n in range(900, 1000):
    try:
        deep(n)
    except RecursionError:
        pass
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
