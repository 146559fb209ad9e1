import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.policy.paths import candidates, compile_patterns, could_be, normal, whole


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/etc/shadow", "/etc/shadow"),
        ("/etc//./x/../shadow", "/etc/shadow"),
        ("//etc/shadow", "/etc/shadow"),
        ("/../../etc", "/etc"),
        ("file:///etc/shadow", "/etc/shadow"),
        ("file://localhost/etc/shadow", "/etc/shadow"),
        ("@/etc/shadow", "/etc/shadow"),
        ("/proc/self/root/etc/shadow", "/etc/shadow"),
        ("/proc/1/root/proc/2/root/etc", "/etc"),
        ("/private/etc/x", "/etc/x"),
        ("~/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("$HOME/.ssh", "~/.ssh"),
        ("${HOME}/.ssh", "~/.ssh"),
        ("/home/bob/.ssh", "~/.ssh"),
        ("/root/.ssh", "~/.ssh"),
        ("/Users/bob/.ssh", "~/.ssh"),
        ("~root/.ssh", "~/.ssh"),
        ("/home/../etc", "/etc"),
        ("/home/bob/../../etc", "/etc"),
        ("C:\\Users\\bob\\x", "~/x"),
        ("'/etc/x'", "/etc/x"),
        ("a/./b/../c", "a/c"),
        ("../x", "../x"),
        (".", "."),
        ("", ""),
    ],
)
def test_a_path_has_one_spelling(written: str, meant: str) -> None:
    assert normal(written) == meant


@given(st.text(alphabet="/.~ab*?$", max_size=30))
def test_spelling_twice_changes_nothing(path: str) -> None:
    once = normal(path)
    assert normal(once) in (once, normal(normal(once)))
    assert normal(normal(once)) == normal(normal(normal(once)))


@pytest.mark.parametrize(
    ("word", "path"),
    [
        ("--file=/etc/shadow", "/etc/shadow"),
        ("if=/dev/sda", "/dev/sda"),
        ("-T/etc/shadow", "/etc/shadow"),
        ("f=@/etc/shadow", "/etc/shadow"),
        ("host:/etc/shadow", "/etc/shadow"),
        ("../../../etc/shadow", "/etc/shadow"),
        (".ssh/id_rsa", "~/.ssh/id_rsa"),
    ],
)
def test_a_word_names_a_path(word: str, path: str) -> None:
    assert path in candidates(word)


def test_a_relative_path_is_seen_from_each_directory() -> None:
    assert "/etc/shadow" in candidates("shadow", ("/tmp", "/etc"))


def test_text_of_several_lines_is_no_path() -> None:
    assert candidates("see\n/etc/shadow\nthere") == ()


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/etc/**", "/etc"),
        ("/etc/**", "/etc/a/b"),
        ("~/.ssh/**", "~/.ssh/id_rsa"),
        ("**/.env", ".env"),
        ("**/.env", "/a/b/.env"),
        ("/etc/shadow*", "/etc/shadow-"),
        ("/etc/shadow", "/etc/sh?dow"),
        ("/etc/shadow", "/etc/s*w"),
        ("/etc/shadow", "/e?c/[r-t]hadow"),
        ("/etc/shadow*", "/etc/sh*"),
        ("/dev/sd*", "/dev/sda1"),
        ("~/.config/gcloud/**", "~/.config/gcl*/x"),
        ("**/id_rsa", "~/**/id_rsa"),
    ],
)
def test_a_pattern_matches(pattern: str, path: str) -> None:
    patterns = compile_patterns((pattern,))
    assert patterns is not None
    assert patterns.match(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/etc/**", "/etcetera"),
        ("/etc/shadow", "/etc/*"),
        ("/etc/shadow", "etc/shadow"),
        ("**/.env", ".envrc"),
        ("**/.env", "*"),
        ("**/guardproxy.yaml", "*.yaml"),
        ("**/guardproxy-audit*", "*.log"),
        ("/etc/shadow", "/etc/*.conf"),
        ("~/.ssh/**", "~/.sshx"),
        ("/etc/*", "/etc/a/b"),
    ],
)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    patterns = compile_patterns((pattern,))
    assert patterns is not None
    assert not patterns.match(path)


def test_no_patterns() -> None:
    assert compile_patterns(()) is None


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("/", "/"),
        ("/*", "/"),
        ("/*/*", "/"),
        ("/.", "/"),
        ("/etc/", "/etc"),
        ("/etc/*", "/etc"),
        ("/etc/.*", "/etc"),
        ("~/*", "~"),
        ("*", "."),
        ("./*", "."),
        (".", "."),
        ("build/*", "build"),
        ("*.pyc", "*.pyc"),
    ],
)
def test_a_path_that_names_all_of_a_directory(path: str, directory: str) -> None:
    assert whole(path) == directory


@given(st.text(alphabet="ab?*[]c", max_size=8), st.text(alphabet="abc", max_size=8))
def test_a_plain_name_could_be_itself_whatever_the_glob_says(glob: str, name: str) -> None:
    assert could_be(name, name)
    assert could_be("*", glob)


@pytest.mark.parametrize("path", ["/" + "*a" * 400, "/".join(["**"] * 60), "[" * 300, "/" * 3000])
def test_hostile_globs_end(path: str) -> None:
    patterns = compile_patterns(("**/guardproxy*", "/etc/**", "~/.ssh/**"))
    assert patterns is not None
    patterns.match(normal(path))
