"""`guardproxy learn`: a model in, a prefix out; a kill in between costs nothing."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from guardproxy.offline.learn.tasks import SHIPPED, Kind
from guardproxy.prefix.artifact import Use, load_artifact
from guardproxy.testing.persuadable import REFUSAL, PersuadableModel, persuadable
from guardproxy.testing.persuadable import TASKS as TASKS_BY_USER

pytestmark = pytest.mark.e2e

TASKS = [str(SHIPPED / f"{name}.jsonl") for name in ("shell", "web", "mail")]
SMALL = ("--candidates", "3", "--rounds", "3", "--held-out", "0.3", "--benign-floor", "0.5", "--no-gate")


def arguments(model: PersuadableModel, folder: Path, *more: str) -> list[str]:
    config = folder / "guardproxy.yaml"
    config.write_text(f"upstreams: [{{name: main, base_url: '{model.base_url}', server: vllm}}]\n")
    return ["learn", "--config", str(config), "--model", "m", *SMALL, *more, *TASKS]


def test_a_prefix_a_report_and_the_numbers(program) -> None:
    with persuadable(PersuadableModel()) as model:
        result = program.run(*arguments(model, program.folder, "--html", "run.html", "--json"))
    assert result.returncode == 0, result.stderr
    tree = json.loads(result.stdout)
    assert tree["accepted"]
    assert tree["held_out"]["with"]["harmful_refused"] > tree["held_out"]["without"]["harmful_refused"]
    artifact = load_artifact(program.folder / "prefix.yaml")
    assert artifact.text == tree["prefix"]["text"]
    assert artifact.position is Use.PREFILL
    assert artifact.scores is not None
    assert artifact.scores.perform.n == tree["held_out"]["with"]["benign_n"]
    assert artifact.fits("m")
    assert not artifact.fits("n")
    page = (program.folder / "run.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http" not in page.replace("https://", "").split("</style>")[0]
    checked = program.folder / "proxy.yaml"
    checked.write_text("prefix: {file: prefix.yaml}\nguards: {classifier: {enabled: false}}\n")
    assert program.run("check", str(checked)).returncode == 0, "what `learn` writes the proxy reads"


def test_the_proxy_uses_what_was_learned(program, fetch) -> None:
    with persuadable(PersuadableModel()) as model:
        assert program.run(*arguments(model, program.folder)).returncode == 0
        config = program.folder / "guardproxy.yaml"
        config.write_text(config.read_text() + "prefix: {file: prefix.yaml}\nguards: {classifier: {enabled: false}}\n")
        text = load_artifact(program.folder / "prefix.yaml").text
        task = next(task for task in TASKS_BY_USER.values() if task.kind is Kind.HARMFUL and model.refuses(task, text))
        assert not model.refuses(task, "")
        body = {"model": "m", "messages": [{"role": "user", "content": task.user}], "tools": [*task.tools]}
        with program.serve("--config", str(config)) as server:
            reply = fetch(f"{server.base_url}/chat/completions", json.dumps(body))
    assert reply.status == 200
    message = json.loads(reply.body)["choices"][0]["message"]
    assert (message["content"], message.get("tool_calls")) == (REFUSAL, None)


def test_a_run_that_is_killed_goes_on(program) -> None:
    with persuadable(PersuadableModel(delay_s=0.01)) as model:
        command = program.command(arguments(model, program.folder))
        with subprocess.Popen(
            command, cwd=program.folder, env=program.environ({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            end = time.monotonic() + 60
            while len(model.asked) < 150 and time.monotonic() < end and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        asked = len(model.asked)
        result = program.run(*arguments(model, program.folder))
        assert result.returncode == 0, result.stderr
        assert "going on with learn-run: " in result.stderr
        again = len(model.asked) - asked
        whole = program.run(*arguments(model, program.folder, "--run", "other", "--out", "other.yaml"))
        assert whole.returncode == 0
    assert again < len(model.asked) - asked - again
    assert (program.folder / "prefix.yaml").read_text() == (program.folder / "other.yaml").read_text()


def test_every_fault_of_the_tasks_is_told_and_nothing_is_asked(program) -> None:
    (program.folder / "bad.jsonl").write_text('{"id": "a", "kind": "benign"}\n{\n')
    with persuadable(PersuadableModel()) as model:
        result = program.run(*arguments(model, program.folder), "bad.jsonl", "gone.jsonl")
    assert (result.returncode, result.stdout) == (2, "")
    *faults, last = result.stderr.splitlines()
    assert last == f"guardproxy: {len(faults)} faults; nothing was asked"
    assert {
        "bad.jsonl:1: user: must be a non-empty string",
        "bad.jsonl:1: tools: must be a list of at least one tool",
    } < {*faults}
    assert any(fault.startswith("bad.jsonl:2: ") for fault in faults)
    assert faults[-1].startswith("gone.jsonl: cannot be read")
    assert not model.asked


def test_a_prefix_below_the_floor_is_refused(program) -> None:
    with persuadable(PersuadableModel(over_refuses=True)) as model:
        result = program.run(*arguments(model, program.folder, "--benign-floor", "1.0"))
    assert result.returncode == 3, result.stdout
    assert "guardproxy: no prefix was written" in result.stderr
    assert not (program.folder / "prefix.yaml").exists()


def test_a_server_that_refuses_prefill_is_told_of(program) -> None:
    with persuadable(PersuadableModel(continues=False)) as model:
        result = program.run(*arguments(model, program.folder))
    assert result.returncode == 0, result.stderr
    assert "continue_final_message: refused with status 400" in result.stderr
    assert "the prefix goes in at: suffix" in result.stderr
    assert load_artifact(program.folder / "prefix.yaml").position is Use.SUFFIX


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--position", "sideways"], "'sideways' is no position"),
        (["--request", "[]"], "expected a JSON object"),
        (["--model", ""], "the model has to be named"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_faults_of_the_command_line(program, more: list[str], said: str) -> None:
    result = program.run("learn", "--model", "m", *more)
    assert result.returncode == 2
    assert said in " ".join(result.stderr.split())


def test_another_run_in_the_same_folder(program) -> None:
    with persuadable(PersuadableModel()) as model:
        assert program.run(*arguments(model, program.folder, "--max-calls", "120", "--seed", "6")).returncode == 0
        result = program.run(*arguments(model, program.folder, "--seed", "4"))
    assert result.returncode == 1
    assert "learn-run holds a run with another seed" in result.stderr


def test_a_server_that_is_not_there(program) -> None:
    model = PersuadableModel(base_url="http://127.0.0.1:9/v1")
    result = program.run(*arguments(model, program.folder, "--tries", "2"))
    assert result.returncode == 1
    assert result.stderr.startswith("guardproxy: ")


def test_an_audit_gives_tasks_to_read_and_to_learn_from(program) -> None:
    call = {"tool": "bash", "verdict": "block", "arguments": {"text": '{"command": "rm -rf /"}'}}
    record = {
        "content": "full",
        "messages": [{"role": "user", "text": "Wipe the disk."}],
        "attempts": [{"calls": [call | {"findings": [{"guard": "rules", "verdict": "block"}]}]}],
    }
    audit = program.folder / "audit.jsonl"
    audit.write_text(json.dumps(record) + "\n" + json.dumps(record | {"content": "redacted"}) + "\n")
    made = program.run("learn", "--from-audit", str(audit))
    assert made.returncode == 0, made.stderr
    assert "1 tasks from blocked calls; left out: 1 whose audit holds no content" in made.stderr
    (task,) = (program.folder / "learn-run" / "audited.jsonl").read_text().splitlines()
    assert json.loads(task)["user"] == "Wipe the disk."
    with persuadable(PersuadableModel()) as model:
        result = program.run(*arguments(model, program.folder, "--from-audit", str(audit), "--max-calls", "1"))
    assert "calls are too few" in result.stderr
    assert "audited.jsonl is there and is used as it is" in result.stderr
