"""The Dockerfile's promises, as far as reading it can hold them; building it needs a container engine."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions() -> list[str]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]


def stages() -> list[list[str]]:
    found: list[list[str]] = []
    for line in instructions():
        if line.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(line)
    return found


def test_there_are_two_stages_of_one_base() -> None:
    build, last = stages()
    assert build[0] == "FROM ${BASE} AS build"
    assert last[0] == "FROM ${BASE}"


def test_the_last_stage_has_no_compiler_and_no_installer() -> None:
    build, last = (" ".join(stage) for stage in stages())
    assert "g++" in build
    assert "uninstall --yes pip setuptools" in build
    assert not re.search(r"g\+\+|gcc|clang|cmake|\bpip\b|-dev\b|venv", last.replace("/opt/guardproxy", ""))


def test_it_runs_as_nobody_in_particular() -> None:
    last = stages()[-1]
    assert "USER 65532:65532" in last
    assert last.index("USER 65532:65532") > max(n for n, line in enumerate(last) if line.startswith("RUN"))
    assert last[-2:] == ['ENTRYPOINT ["guardproxy"]', 'CMD ["serve"]']


def test_it_needs_no_newer_builder() -> None:
    """buildah of Debian 12 knows neither heredocs nor ADD --checksum, and the OCI format has no HEALTHCHECK."""
    assert not [line for line in instructions() if "<<" in line or line.startswith(("ADD ", "HEALTHCHECK "))]


@pytest.mark.parametrize(
    "source",
    sorted(
        {s for line in instructions() if line.startswith("COPY ") and "--from" not in line for s in line.split()[1:-1]}
    ),
)
def test_what_is_copied_is_there_and_let_in(source: str) -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert (ROOT / source).exists()
    assert any(fnmatch(source, rule[1:]) for rule in rules if rule.startswith("!"))
