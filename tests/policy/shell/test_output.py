import base64
import gzip

import pytest

from guardproxy.policy.shell.output import find_is_narrowed, find_roots, find_visits, printed


@pytest.mark.parametrize(
    ("program", "words", "stdin", "expected"),
    [
        ("echo", ["a", "b"], None, "a b"),
        ("echo", ["-n", "a"], None, "a"),
        ("echo", ["-e", r"\x72m"], None, "rm"),
        ("printf", ["%s-%s", "a", "b"], None, "a-b"),
        ("printf", [r"\162\155"], None, "rm"),
        ("printf", ["%s\\n", "a", "b"], None, "a\nb\n"),
        ("printf", ["%b", r"\x41"], None, "A"),
        ("cat", [], "x", "x"),
        ("cat", ["file"], "x", None),
        ("rev", [], "mr", "rm"),
        ("tac", [], "a\nb\n", "b\na"),
        ("base64", ["-d"], "cm0=", "rm"),
        ("base64", ["--decode"], "cm0", "rm"),
        ("base64", [], "rm", None),
        ("base32", ["-d"], base64.b32encode(b"rm").decode(), "rm"),
        ("xxd", ["-r", "-p"], "726d", "rm"),
        ("openssl", ["base64", "-d"], "cm0=", "rm"),
        ("tr", ["a-z", "n-za-m"], "ez", "rm"),
        ("tr", ["-d", "x"], "rxm", "rm"),
        ("tr", ["[:upper:]", "[:lower:]"], "RM", "rm"),
        ("sed", ["s/x/r/"], "xm", "rm"),
        ("sed", ["s/[x]/r/"], "xm", None),
        ("cut", ["-c2-3"], "xrmx", "rm"),
        ("cut", ["-d,", "-f2"], "x,rm", "rm"),
        ("which", ["-a", "rm"], None, "rm"),
        ("head", ["-1"], "x", "x"),
        ("true", [], None, ""),
        ("dirname", ["/etc/x"], None, "/etc"),
        ("basename", ["/bin/rm"], None, "rm"),
        ("python3", ["-c", "print('rm')"], None, "rm"),
        ("unknown", [], "x", None),
        ("rev", [], None, None),
    ],
)
def test_what_a_filter_prints(program: str, words: list[str], stdin: str | None, expected: str | None) -> None:
    assert printed(program, words, stdin) == expected


def test_compressed_text_survives_a_pipe() -> None:
    packed = printed("base64", ["-d"], base64.b64encode(gzip.compress(b"rm -rf /")).decode())
    assert printed("gunzip", [], packed) == "rm -rf /"


@pytest.mark.parametrize(
    ("words", "roots", "narrowed", "visits"),
    [
        (["/", "-delete"], ["/"], False, ["/*"]),
        (["-L", "/", "/etc", "-type", "f"], ["/", "/etc"], False, ["/*", "/etc/*"]),
        ([".", "-name", "*.pyc"], ["."], True, []),
        (["~", "-name", "id_rsa"], ["~"], True, ["~/id_rsa"]),
        (["/", "-name", "*"], ["/"], False, ["/*"]),
        ([], ["."], False, ["./*"]),
    ],
)
def test_what_find_visits(words: list[str], roots: list[str], narrowed: bool, visits: list[str]) -> None:
    assert (find_roots(words), find_is_narrowed(words), find_visits(words)) == (roots, narrowed, visits)
