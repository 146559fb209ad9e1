import pytest

from guardproxy.policy.shell.wrappers import inner_lines, inner_scripts


@pytest.mark.parametrize(
    ("program", "words", "line"),
    [
        ("sudo", "-u root ls -l", "ls -l"),
        ("sudo", "--us root ls", "ls"),
        ("sudo", "-nEu root A=b ls", "ls"),
        ("env", "- A=b ls", "ls"),
        ("nice", "-n 5 ls", "ls"),
        ("timeout", "--signal=KILL 5 ls", "ls"),
        ("docker", "run -it --name x -e A=b image ls -l", "ls -l"),
        ("docker", "exec c ls", "ls"),
        ("kubectl", "exec -n ns pod -- ls", "ls"),
        ("uv", "run ls", "ls"),
        ("flock", "-w 5 /tmp/l ls", "ls"),
        ("chroot", "/mnt ls", "ls"),
    ],
)
def test_where_the_inner_command_starts(program: str, words: str, line: str) -> None:
    assert line.split() in list(inner_lines(program, words.split()))


def test_every_action_of_find() -> None:
    words = ["/", "-exec", "a", "{}", ";", "-execdir", "b", "{}", "+"]
    assert list(inner_lines("find", words)) == [["a", "{}"], ["b", "{}"]]


@pytest.mark.parametrize("program", ["ls", "docker", "sudo", "xargs"])
def test_nothing_to_run(program: str) -> None:
    assert list(inner_lines(program, ["-x"])) == []


@pytest.mark.parametrize(
    ("program", "words", "script"),
    [
        ("eval", ["a", "b"], "a b"),
        ("ssh", ["-p", "22", "h", "a; b"], "a; b"),
        ("ssh", ["-o", "ProxyCommand=a b", "h"], "a b"),
        ("su", ["-", "u", "-c", "a"], "a"),
        ("env", ["-Sa b"], "a b"),
        ("git", ["-c", "core.sshCommand=a b", "fetch"], "a b"),
        ("git", ["config", "core.pager", "a b"], "a b"),
        ("rsync", ["-e", "a b", "x", "y"], "a b"),
        ("socat", ["TCP:h:1", "EXEC:a b"], "a b"),
        ("cmd", ["/c", "a", "b"], "a b"),
    ],
)
def test_scripts_in_options(program: str, words: list[str], script: str) -> None:
    assert script in list(inner_scripts(program, words))


@pytest.mark.parametrize("program", ["sed", "vim", "git", "tar", "make"])
def test_long_words_end(program: str) -> None:
    assert len(list(inner_scripts(program, ["s/a/b/e;" * 5_000]))) <= 5_001
