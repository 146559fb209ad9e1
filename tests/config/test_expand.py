"""References in values: what they become, and what is told where they lead nowhere."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.config.expand import MAX_FILE_BYTES, Unexpandable, expand, expand_text

ENVIRON = {"KEY": "sk-1", "EMPTY": "", "ODD": "${KEY}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${KEY}", "sk-1"),
        ("Bearer ${KEY}!", "Bearer sk-1!"),
        ("${KEY}${KEY}", "sk-1sk-1"),
        ("${NONE:-else}", "else"),
        ("${EMPTY:-else}", "else"),  # as in a shell
        ("${NONE:-}", ""),
        ("${KEY:-else}", "sk-1"),
        ("${NONE:-a:-b}", "a:-b"),
        ("${ODD}", "${KEY}"),  # what is put in is not read again
        ("$${KEY}", "${KEY}"),
        ("$KEY {KEY} $", "$KEY {KEY} $"),
        ("{tool}: {advice}", "{tool}: {advice}"),
    ],
)
def test_what_a_reference_becomes(text: str, value: str, tmp_path: Path) -> None:
    assert expand_text(text, ENVIRON, tmp_path) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NONE}", "the environment variable NONE is not set"),
        ("${EMPTY}", "the environment variable EMPTY is empty"),
        ("${1X}", r"a `\$\{` must be"),
        ("${}", r"a `\$\{` must be"),
        ("${KEY", r"a `\$\{` must be"),
        ("${A:-${KEY}}", r"a `\$\{` must be"),
        ("${file:}", r"a `\$\{` must be"),
        ("${file:gone}", "cannot read .*gone: No such file or directory"),
        ("${file:.}", "cannot read .*: Is a directory"),
    ],
)
def test_what_leads_nowhere(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(Unexpandable, match=problem):
        expand_text(text, ENVIRON, tmp_path)


def test_a_file_loses_its_last_newline_only(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" two\nlines \n")
    assert expand_text("${file:key}", {}, tmp_path) == " two\nlines "
    assert expand_text(f"${{file:{tmp_path}/key}}", {}, Path("/")) == " two\nlines "


@pytest.mark.parametrize(("data", "problem"), [(b"\xff", "is not UTF-8"), (b"x" * (MAX_FILE_BYTES + 1), "is larger")])
def test_a_file_that_is_no_secret(data: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(Unexpandable, match=problem):
        expand_text("${file:key}", {}, tmp_path)


def test_values_are_expanded_wherever_they_stand_and_keys_never(tmp_path: Path) -> None:
    tree, problems = expand({"${KEY}": ["${KEY}", {"a": "${KEY}"}, 3, None, True]}, ENVIRON, tmp_path)
    assert tree == {"${KEY}": ["sk-1", {"a": "sk-1"}, 3, None, True]}
    assert problems == {}


def test_every_problem_is_told_with_its_place(tmp_path: Path) -> None:
    tree, problems = expand({"a": "${NONE}", "b": ["${KEY}", "${EMPTY}"]}, ENVIRON, tmp_path)
    assert tree == {"a": "${NONE}", "b": ["sk-1", "${EMPTY}"]}
    assert set(problems) == {("a",), ("b", 1)}


@given(st.text())
def test_a_value_from_the_environment_arrives_as_it_is(value: str) -> None:
    text = f"<{value}>"
    assert expand_text("${V}", {"V": text}, Path("/")) == text


@given(st.text(st.characters(exclude_characters="$")))
def test_text_without_a_dollar_is_left_alone(text: str) -> None:
    assert expand_text(text, {}, Path("/")) == text
