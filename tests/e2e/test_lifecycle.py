"""Starting, reloading and stopping the real program."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from guardproxy.testing.dialects import Said, SaidCall
from guardproxy.testing.model_server import Answer, ModelServer, PlayedModel
from guardproxy.testing.service import Service, command, environment, eventually, serving
from guardproxy.testing.tools import TOOLS

ASKED = [{"role": "user", "content": "Hello."}]
Played = Callable[..., PlayedModel]
PACK = """
version: 1
pack: own
rules:
  - {{id: no-program, description: Not this one., tools: bash, command: {{program: {program}}}, code: not_this}}
tests:
  - {{name: blocks it, call: {{tool: bash, arguments: {{command: {program}}}}}, expect: block}}
"""


def config(server: ModelServer, **more: object) -> str:
    quick = {"guards": {"classifier": {"enabled": False}}, "upstreams": [{"base_url": server.base_url}]}
    return json.dumps({**quick, **more})


def client_of(proxy: Service) -> OpenAI:
    return OpenAI(base_url=proxy.url, api_key="sk-client", max_retries=0, timeout=20)


def serve_in_vain(directory: Path, *arguments: str, file: str | None = None) -> "subprocess.CompletedProcess[str]":
    if file is not None:
        (directory / "guardproxy.yaml").write_text(file)
        arguments = ("--config", str(directory / "guardproxy.yaml"), *arguments)
    return subprocess.run(
        command("serve", "--port", "0", "--admin-port", "0", *arguments),
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_stream_under_way_ends_before_the_program_does(tmp_path: Path, server: ModelServer) -> None:
    model = server.model(
        Answer.of(Said(text="one two three", calls=(SaidCall("bash", '{"command": "ls"}'),)), gap_s=0.1)
    )
    received: list[str] = []
    calls: list[str] = []
    begun = threading.Event()

    def listen(proxy: Service) -> None:
        with client_of(proxy) as client:
            for chunk in client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS, stream=True):
                delta = chunk.choices[0].delta if chunk.choices else None
                received.append(delta.content or "" if delta else "")
                calls.extend(call.id for call in (delta.tool_calls or [] if delta else []) if call.id)
                begun.set()

    with serving(tmp_path, config(server)) as proxy:
        listener = threading.Thread(target=listen, args=(proxy,))
        listener.start()
        assert begun.wait(10)
        assert proxy.stop() == 0
        listener.join(10)
    assert "".join(received) == "one two three"
    assert calls, "the held call was lost"
    assert [record["outcome"] for record in proxy.records()] == ["completed"]


def test_a_stream_that_does_not_end_is_cut_at_the_drain_s_limit(tmp_path: Path, server: ModelServer) -> None:
    model = server.model(Answer.of(Said(text="word " * 500), gap_s=0.1))
    with serving(tmp_path, config(server, listen={"drain_s": 1})) as proxy, client_of(proxy) as client:
        stream = client.chat.completions.create(model=model.name, messages=ASKED, stream=True)
        next(iter(stream))
        assert proxy.stop() == 0
        stream.close()
    assert [record["outcome"] for record in proxy.records()] == ["cancelled"]


@pytest.fixture(scope="module")
def reloading(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("reload")
    (directory / "own.yaml").write_text(PACK.format(program="alpha"))
    with serving(directory, config(server, policy=["own.yaml"])) as running:
        yield running


def blocked(proxy: Service, server: ModelServer, program: str) -> bool:
    model = server.model(Said(calls=(SaidCall("bash", json.dumps({"command": program})),)))
    with client_of(proxy) as client:
        answer = client.chat.completions.create(model=model.name, messages=ASKED, tools=TOOLS)
    return not answer.choices[0].message.tool_calls


def test_a_changed_pack_is_taken_up(reloading: Service, server: ModelServer) -> None:
    assert blocked(reloading, server, "alpha")
    assert not blocked(reloading, server, "beta")
    (reloading.directory / "own.yaml").write_text(PACK.format(program="beta"))
    eventually(lambda: blocked(reloading, server, "beta") or None, "the new rule")
    assert not blocked(reloading, server, "alpha")


@pytest.mark.parametrize(
    "broken",
    [
        "pack: own",
        "{unclosed",
        PACK.format(program="gamma").replace("expect: block", "expect: allow"),
        PACK.format(program="gamma") + "mystery: 1\n",
    ],
    ids=["incomplete", "not YAML", "its own test fails", "unknown key"],
)
def test_a_bad_pack_keeps_the_last_good_one(reloading: Service, server: ModelServer, broken: str) -> None:
    def reloaded(well: int) -> bool | None:
        return reloading.metric("guardproxy_config_last_reload_successful") == well or None

    pack = reloading.directory / "own.yaml"
    good = pack.read_text()
    judged = [blocked(reloading, server, program) for program in ("alpha", "beta")]
    pack.write_text(broken)
    reloading.signal(signal.SIGHUP)
    eventually(lambda: reloaded(0), "a failed reload")
    assert [blocked(reloading, server, program) for program in ("alpha", "beta")] == judged
    assert not blocked(reloading, server, "gamma")
    assert "own.yaml" in reloading.log
    pack.write_text(good)
    reloading.signal(signal.SIGHUP)
    eventually(lambda: reloaded(1), "a reload")


def test_a_bad_configuration_is_told_whole(tmp_path: Path) -> None:
    file = "upstreams: [{kind: openai}]\nlimits: {body_bytes: none}\nmystery: 1\npolicy: [no-such-pack]\n"
    done = serve_in_vain(tmp_path, file=file)
    assert done.returncode == 64
    for fault in ("upstreams", "guardproxy.yaml:2", "mystery"):
        assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_pack_stops_the_start(tmp_path: Path) -> None:
    done = serve_in_vain(tmp_path, "--policy", "no-such-pack")
    assert done.returncode == 64
    assert "no-such-pack" in done.stderr


def test_an_address_in_use_is_told(tmp_path: Path, proxy: Service) -> None:
    port = proxy.url.split(":")[2].split("/")[0]
    done = serve_in_vain(tmp_path, "--port", port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_the_upstream_may_be_named_by_the_environment(tmp_path: Path, server: ModelServer) -> None:
    model = server.model(Said(text="Yes."))
    environ = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-own"}
    with serving(tmp_path, environ=environ) as proxy, client_of(proxy) as client:
        answer = client.chat.completions.create(model=model.name, messages=ASKED)
    assert answer.choices[0].message.content == "Yes."
    assert model.asked[0].headers["Authorization"] == "Bearer sk-own"
    assert "sk-own" not in proxy.log + proxy.audit.read_text()


def test_the_upstream_may_be_named_on_the_command_line(tmp_path: Path, server: ModelServer) -> None:
    model = server.model(Said(text="Yes."))
    with serving(tmp_path, arguments=["--upstream", server.base_url]) as proxy, client_of(proxy) as client:
        answer = client.chat.completions.create(model=model.name, messages=ASKED)
    assert answer.choices[0].message.content == "Yes."
    assert model.asked[0].headers["Authorization"] == "Bearer sk-client"
