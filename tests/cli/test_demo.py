"""`guardproxy demo`: through a running proxy, through one of its own, and against something else."""

import pytest

from guardproxy.offline.learn.judging import is_refusal

pytestmark = pytest.mark.e2e


def test_through_a_proxy_that_runs(program) -> None:
    with program.serve() as server:
        result = program.run("demo", "--url", server.base_url)
    assert result.returncode == 0, result.stderr
    assert "allowed   get_weather" in result.stdout
    assert "blocked   [guardproxy] The call to `bash` was not executed" in result.stdout
    assert "why, in full: guardproxy explain " in result.stdout
    assert " ms)" in result.stdout


def test_through_a_proxy_of_its_own(program) -> None:
    """Nothing is left of it: not its audit, not its process. With a learned prefix nothing has to be blocked."""
    result = program.run("demo", environ={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "COLUMNS": "200"})
    assert result.returncode == 0, result.stderr
    assert "Nothing answers at" in result.stdout or "Through the proxy at" in result.stdout
    without, prefixed = result.stdout.split(
        "Again, and a proxy lets its turns begin with what `guardproxy learn` found"
    )
    assert "blocked   [guardproxy]" in without
    assert "blocked" not in prefixed
    assert "allowed   get_weather" in prefixed
    assert is_refusal(prefixed.split("agent     ")[-1])
    assert not (program.folder / "state").exists()


def test_where_nothing_answers(program) -> None:
    result = program.run("demo", "--url", "http://127.0.0.1:9/v1")
    assert result.returncode == 1
    assert "the proxy at http://127.0.0.1:9/v1 does not answer" in result.stderr
    assert "Traceback" not in result.stderr
