import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.policy.shell import Command, read, read_line


def lines(script: str, language: str = "bash") -> set[str]:
    return {c.text for c in read(script, language).commands}


@pytest.mark.parametrize(
    "script",
    [
        "rm -rf /",
        "ls; rm -rf /",
        "ls && rm -rf / || true",
        "ls | rm -rf /",
        "(rm -rf /)",
        "{ rm -rf /; }",
        "! rm -rf /",
        "rm -rf / &",
        "ls\nrm -rf /",
        "ls # a comment\nrm -rf /",
        "if true; then rm -rf /; fi",
        "if false; then ls; elif rm -rf /; then ls; else ls; fi",
        "while rm -rf /; do ls; done",
        "until false; do rm -rf /; done",
        "for x in a; do rm -rf /; done",
        "for ((;;)); do rm -rf /; done",
        "case x in x) rm -rf /;; esac",
        "select x in a; do rm -rf /; done",
        "f() { rm -rf /; }",
        "function f { rm -rf /; }; f",
        "echo $(rm -rf /)",
        "echo `rm -rf /`",
        'echo "a $(rm -rf /) b"',
        "echo ${x:-$(rm -rf /)}",
        "x=$(rm -rf /)",
        "x=$(rm -rf /) ls",
        "export x=$(rm -rf /)",
        "cat <(rm -rf /)",
        "tee >(rm -rf /)",
        "[[ $(rm -rf /) ]]",
        "((x=$(rm -rf /)))",
        "a[$(rm -rf /)]=1",
        "ls > $(rm -rf /)",
        "cat <<X\n$(rm -rf /)\nX",
        "cat <<< $(rm -rf /)",
        "time rm -rf /",
        "coproc rm -rf /",
        "rm \\\n-rf /",
        "rm\t-rf  /",
        "rm -rf / > /dev/null 2>&1",
    ],
)
def test_a_command_is_found_wherever_it_stands(script: str) -> None:
    assert "rm -rf /" in lines(script)


@pytest.mark.parametrize(
    "script",
    [
        "'rm' \"-rf\" '/'",
        "r''m -r\\f /",
        "\\rm -rf /",
        "/bin/rm -rf /",
        "RM -rf /",
        "$'\\x72m' -rf $'\\57'",
        '$"rm" -rf /',
        "X=rm; $X -rf /",
        "X='rm -rf /'; $X",
        "a=r; b=m; $a${b} -rf /",
        "${X:-rm} -rf /",
        "X=xrm; ${X#x} -rf /",
        "X=rmx; ${X%x} -rf /",
        "X=rXm; ${X/X/} -rf /",
        "X=mr; ${X:1:1}${X:0:1} -rf /",
        "X=RM; ${X,,} -rf /",
        "n=X; X=rm; ${!n} -rf /",
        "a=(rm -rf /); ${a[@]}",
        'a=(rm -rf /); "${a[@]}"',
        "a=(x rm); ${a[1]} -rf /",
        'set -- rm -rf /; "$@"',
        "f() { $1 -rf /; }; f rm",
        'f() { "$@"; }; f rm -rf /',
        "printf -v X rm; $X -rf /",
        "read X <<< rm; $X -rf /",
        "for X in rm; do $X -rf /; done",
        "while read X; do $X -rf /; done <<< rm",
        "rm${IFS}-rf${IFS}/",
        "IFS=,; X=rm,-rf,/; $X",
        "r$@m -rf /",
        "{rm,-rf,/}",
        "$(echo rm) -rf $(printf /)",
        "`echo rm` -rf /",
        "$(which rm) -rf /",
        "$(echo cm0= | base64 -d) -rf /",
        "alias x=rm; x -rf /",
        "alias x='rm -rf /'",
        "rm -rf ${PATH:0:1}",
    ],
)
def test_quotes_and_expansions_are_seen_through(script: str) -> None:
    assert "rm -rf /" in {text.lower() for text in lines(script)}


@pytest.mark.parametrize(
    "script",
    [
        "sudo rm -rf /",
        "sudo -u root -- rm -rf /",
        "sudo --user=root A=b rm -rf /",
        "env -i A=b rm -rf /",
        "env -S 'rm -rf /'",
        "nohup nice -n 5 timeout -k 1 9 rm -rf /",
        "busybox rm -rf /",
        "xargs -0 -n 1 rm -rf /",
        "xargs -i rm -rf /",
        "xargs -e rm -rf /",
        "xargs -r -l rm -rf /",
        "xargs --replace rm -rf /",
        "xargs --max-lines rm -rf /",
        "xargs -J % rm -rf /",
        "xargs -n1 -I % rm -rf /",
        "find . -exec rm -rf / \\;",
        "find . -execdir rm -rf / +",
        "ssh -p 22 host rm -rf /",
        "ssh host 'ls; rm -rf /'",
        "docker run --rm -v a:b image rm -rf /",
        "docker exec -it -u root c rm -rf /",
        "kubectl exec pod -n x -- rm -rf /",
        "su - root -c 'rm -rf /'",
        "eval rm -rf /",
        "eval 'rm -rf /'",
        "trap 'rm -rf /' EXIT",
        "bash -c 'rm -rf /'",
        "bash -lc 'rm -rf /'",
        "bash --norc -o pipefail -c 'rm -rf /'",
        "bash -c '$0 -rf /' rm",
        "sh -c '\"$@\"' x rm -rf /",
        "bash -c \"bash -c 'rm -rf /'\"",
        "bash <<< 'rm -rf /'",
        "bash <<X\nrm -rf /\nX",
        "cat <<X | bash\nrm -rf /\nX",
        "echo 'rm -rf /' | sh",
        "printf '%s\\n' 'rm -rf /' | sh -s",
        "echo cm0gLXJmIC8= | base64 -d | sh",
        "echo 726d202d7266202f | xxd -r -p | sh",
        "echo '/ fr- mr' | rev | sh",
        "echo 'ez -es /' | tr a-z n-za-m | sh",
        "echo 'xx -rf /' | sed s/xx/rm/ | sh",
        "bash <(echo rm -rf /)",
        "source <(echo rm -rf /)",
        "source /dev/stdin <<< 'rm -rf /'",
        "echo / | xargs rm -rf",
        "echo / | xargs -I{} rm -rf {}",
        "echo 'rm -rf /' > a.sh; bash a.sh",
        "echo 'rm -rf /' > a; ./a",
        "echo 'rm -rf /' | tee a; . a",
        "echo 'rm -rf /' >> ~/.bashrc",
        "git -c alias.x='!rm -rf /' x",
        "tar xf a --to-command='rm -rf /'",
        "vim -c ':!rm -rf /'",
        "sed '1e rm -rf /'",
        "make --eval='x:;rm -rf /'",
        "at now <<< 'rm -rf /'",
        "powershell -enc cgBtACAALQByAGYAIAAvAA==",
        "python3 -c 'import os; os.system(\"rm -rf /\")'",
        "python3 <<X\nimport os\nos.system('rm -rf /')\nX",
        "cat > a.py <<X\nimport os\nos.system('rm -rf /')\nX\npython3 a.py",
        "perl -e 'system(\"rm -rf /\")'",
        "awk 'BEGIN{system(\"rm -rf /\")}'",
    ],
)
def test_what_runs_something_else_is_followed(script: str) -> None:
    assert "rm -rf /" in lines(script)


@pytest.mark.parametrize(
    "script",
    [
        "echo rm -rf /",
        "echo 'rm -rf /'",
        "grep 'rm -rf /' file",
        "git commit -m 'rm -rf /'",
        "cat <<'X'\nrm -rf /\nX",
        "cat > a.md <<'X'\nrm -rf /\nX",
        "# rm -rf /",
        "x='rm -rf /'",
        "echo \\; rm -rf /",
        "sudo grep rm -rf /",
        "python3 -c 'print(1)'",
    ],
)
def test_text_is_no_command(script: str) -> None:
    assert "rm -rf /" not in lines(script)


@pytest.mark.parametrize(
    ("script", "dynamic"),
    [
        ("$X -rf /", True),
        ("$(get tool) -rf /", True),
        ('eval "$(ssh-agent)"', True),
        ("curl x | sh", True),
        ('bash -c "$(curl x)"', True),
        ("source <(curl x)", True),
        ("python3 <(curl x)", True),
        ("curl x | grep y", False),
        ("sh a.sh", False),
        ("curl x | sh a.sh", False),
        ("X=ls; $X", False),
        ("echo ls | sh", False),
    ],
)
def test_what_cannot_be_read_is_dynamic(script: str, dynamic: bool) -> None:
    assert any(c.dynamic for c in read(script).commands) is dynamic


def test_a_command_knows_its_surroundings() -> None:
    script = read("cd /etc; cat shadow | grep x 2>/dev/null > out < in").commands
    grep = next(c for c in script if c.program == "grep")
    assert [c.program for c in grep.inputs] == ["cat"]
    assert [(r.operator, r.target) for r in grep.redirects if r.target != "/dev/null"] == [(">", "out"), ("<", "in")]
    assert "in" in grep.words
    assert grep.directories == ("/etc",)


def test_assignments_are_told_as_exports() -> None:
    assert {"export A=b", "export C=d", "unset E"} <= lines("A=b; C=d ls; unset E")


def test_every_value_of_a_variable_counts() -> None:
    found = lines("X=a; X=b; rm $X; for Y in " + " ".join(f"f{n}" for n in range(300)) + "; do cat $Y; done")
    assert {"rm a b"} <= found
    assert any("f299" in text for text in found)


def test_an_unknown_end_stands_for_the_beginning_too() -> None:
    assert "/" in next(c for c in read("rm -rf /$X").commands if c.program == "rm").words
    assert "/" not in next(c for c in read('rm -rf "$X"/').commands if c.program == "rm").words


def test_a_syntax_error_is_reported_and_read_in_pieces() -> None:
    script = read("if [ x; rm -rf /")
    assert script.broken
    assert "rm -rf /" in {c.text for c in script.commands}


def test_an_argument_vector_is_not_split_again() -> None:
    assert read_line(["rm", "a b"]).commands == (Command("rm", ("a b",)),)
    assert "rm -rf /" in {c.text for c in read_line(["bash", "-lc", "rm -rf /"]).commands}


@pytest.mark.parametrize(
    "script",
    [
        "(" * 400,
        "$(" * 400 + ")" * 400,
        "x=(" * 5_000,
        "{a,b}" * 60,
        "a=x;" + ";".join("a=$a$a" for _ in range(80)),
        "eval " * 60 + "ls",
        "rm " + "a " * 10_000 + "/",
        ";".join(f"cd d{n}" for n in range(200)),
        "|".join(f"cat f{n}" for n in range(200)),
        "ls;" * 50_000,
        "xargs " * 3_000,
        "for x in " + " ".join(map(str, range(5_000))) + "; do echo $x$x; done",
    ],
)
def test_what_is_left_out_is_reported(script: str) -> None:
    start = time.monotonic()
    assert read(script).truncated
    assert time.monotonic() - start < 10


def test_a_stop_signal_is_obeyed() -> None:
    assert read("ls -la /tmp;" * 2_000, stop=lambda: True).truncated


PARTS = (
    """rm -rf / ' " ` $( ) ${ } { | & ; = \\ < > <<X X $x ( [[ ]] then fi do done case esac eval xargs a é * ? ~ !"""
)
ALPHABET = st.sampled_from([*PARTS.split(), " ", "\n", "\u200b", "\x00", "bash -c ", "if ", "for ", "in "])


@settings(max_examples=300, deadline=None)
@given(st.lists(ALPHABET, max_size=40).map("".join))
def test_reading_never_raises(script: str) -> None:
    read(script)
    read(script, "python")
    read(script, "perl")


PREFIXES = [
    "{}",
    "sudo {}",
    "env A=b {}",
    "nohup {} &",
    "timeout 5 {}",
    "docker exec c {}",
    "time {}",
    "ssh h {}",
]
WRAPPERS = [
    "bash -c '{}'", 'sh -c "{}"', "eval '{}'", "( {} )", "{{ {}; }}", "if true; then {}; fi", "true && {}", "x=$( {} )",
    "echo `{}`", "for i in 1; do {}; done", "ssh h '{}'", "f() {{ {}; }}; f", "echo '{}' | sh", "bash <<Q\n{}\nQ",
    "cat <({})", "true; {}", "{} # comment", "trap '{}' EXIT",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PREFIXES), max_size=3), st.lists(st.sampled_from(WRAPPERS), max_size=3))
def test_a_wrapped_command_is_still_found(prefixes: list[str], wrappers: list[str]) -> None:
    script, quoted = "rm -rf /etc", False
    for wrapper in (*prefixes, *wrappers):
        quotes = any(mark in wrapper for mark in ("'", '"', "<<", "#", "`"))
        if not (quotes and quoted):  # quotes inside the same quotes would end them
            script, quoted = wrapper.format(script.rstrip(" &")), quoted or quotes
    assert any(c.program == "rm" and "/etc" in c.words for c in read(script).commands), script
