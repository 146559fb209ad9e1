"""`guardproxy serve` as a person starts it: what it says, what it refuses, how it ends."""

import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def test_it_runs_from_an_empty_folder_with_no_configuration(program, fetch) -> None:
    with program.serve() as server:
        assert fetch(f"{server.admin_url}/healthz").status == 200
        ready = json.loads(fetch(f"{server.admin_url}/readyz").body)
        assert ready == {"ready": True, "parts": {"serving": "ok", "policy": "ok", "audit": "ok", "model": "ok"}}
        assert "guardproxy_config_revision_info" in fetch(f"{server.admin_url}/metrics").body
        assert fetch(f"{server.base_url}/models").status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    said = "".join(server.said)
    assert "stand-ins: the tiny model guardproxy-organism, else a script" in said
    assert "Traceback" not in said
    assert not list(program.folder.glob("*.jsonl")), "the working directory may be the agent's"


def test_a_model_that_it_goes_on_without_is_told_of(program, fetch) -> None:
    config = program.folder / "degraded.yaml"
    config.write_text("guards: {classifier: {model: gone.gguf, on_model_fault: degrade}}\n")
    with program.serve("--config", str(config)) as server:
        ready = json.loads(fetch(f"{server.admin_url}/readyz").body)
        assert (ready["ready"], ready["parts"]["model"]) == (True, "degraded")
        assert "guardproxy_models_missing 1.0" in fetch(f"{server.admin_url}/metrics").body
    assert "gone.gguf: classifier model: cannot be read" in "".join(server.said)


def test_the_first_decision_can_be_explained(program, fetch) -> None:
    body = {
        "model": "guardproxy-scripted-agent",
        "messages": [{"role": "user", "content": "Delete all my files."}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "bash",
                    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
                },
            }
        ],
    }
    with program.serve() as server:
        reply = fetch(f"{server.base_url}/chat/completions", json.dumps(body))
        assert reply.headers["x-guardproxy-decision"] == "block"
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    told = program.run("explain", reply.headers["x-guardproxy-decision-id"])
    assert told.returncode == 0, told.stderr
    assert "Call of bash" in told.stdout
    assert "BLOCK" in told.stdout
    assert program.run("explain", "0" * 16).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "--port: input should be less than or equal to 65535"),
        (["--upstream", "nonsense"], "--upstream: must be http://HOST… or https://HOST…"),
        (["--host", "0.0.0.0"], "--host: other machines can reach this address: it needs listen.client_keys"),
        (["--policy", "gone.yaml"], "gone.yaml"),
        (["--policy", "no-such-pack"], "no-such-pack"),
        (["--config", "gone"], "gone: cannot be read: No such file or directory"),
    ],
)
def test_bad_configuration_is_refused(program, arguments: list[str], said: str) -> None:
    result = program.run("serve", "--port", "0", "--admin-port", "0", *arguments)
    assert result.returncode == 64
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_every_fault_is_on_standard_error_and_no_secret(program) -> None:
    (program.folder / "guardproxy.yaml").write_text(
        "listen:\n  client_keys: [hunter2]\n  prot: 1\n"
        "upstreams:\n  - {base_url: 'http://hunter2:hunter2@h', api_key: hunter2}\n"
    )
    result = program.run("serve", environ={"GUARDPROXY_CONFIG": "."})
    assert result.returncode == 64
    assert [line.split(": ")[0].rpartition("/")[2] for line in result.stderr.splitlines()[:-1]] == [
        "guardproxy.yaml:2",
        "guardproxy.yaml:3",
        "guardproxy.yaml:5",
    ]
    assert result.stderr.splitlines()[-1] == "guardproxy: 3 faults in the configuration"
    assert "hunter2" not in result.stderr


def test_a_port_that_is_taken(program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("--port", "--admin-port"):
            arguments = {"--port": "0", "--admin-port": "0"} | {option: str(port)}
            result = program.run("serve", *(part for pair in arguments.items() for part in pair))
            assert result.returncode == 1
            assert (
                f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another with {option}"
                in result.stderr
            )


def test_the_agents_own_variable_is_no_upstream(program) -> None:
    """Whoever exported OPENAI_BASE_URL for the agent and restarts the proxy from that shell."""
    result = program.run("serve", environ={"OPENAI_BASE_URL": "http://127.0.0.1:8080/v1"})
    assert result.returncode == 64
    assert "OPENAI_BASE_URL: is this proxy's own address" in result.stderr


def test_a_key_without_a_server_stays_here_and_is_mentioned(program) -> None:
    with program.serve(environ={"OPENAI_API_KEY": "sk-hunter2hunter2"}) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    said = "".join(server.said)
    assert "OPENAI_API_KEY is set but no server is named" in said
    assert "hunter2" not in said


class SlowStream(threading.Thread):
    """A model server whose answer takes its time: half of it now, half when it is told to go on."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.go_on = threading.Event()

    def run(self) -> None:
        with self.listener:
            connection, _ = self.listener.accept()
        with connection:
            self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.recv(65536)
        head = ["HTTP/1.1 200 OK", "content-type: text/event-stream", "connection: close", "transfer-encoding: chunked"]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        self._send(connection, _event("first"))
        self.go_on.wait(30)
        self._send(connection, _event("second", "stop") + "data: [DONE]\n\n")
        connection.sendall(b"0\r\n\r\n")

    @staticmethod
    def _send(connection: socket.socket, text: str) -> None:
        connection.sendall(f"{len(text.encode()):x}\r\n{text}\r\n".encode())


def _event(text: str, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}
    tree = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(tree)}\n\n"


def test_sigterm_lets_a_stream_end(program, fetch) -> None:
    upstream = SlowStream()
    upstream.start()
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    with program.serve("--upstream", upstream.url) as server:
        replies: list[str] = []
        url = f"{server.base_url}/chat/completions"
        client = threading.Thread(target=lambda: replies.append(fetch(url, body).body))
        client.start()
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert server.process.poll() is None, "a stream is under way"
        assert fetch(f"{server.admin_url}/readyz").status == 503, "no new requests are to come"
        upstream.go_on.set()
        client.join(30)
        assert server.wait() == 0
    assert "first" in replies[0]
    assert "second" in replies[0]
    assert "[DONE]" in replies[0]


def test_sighup_reads_the_configuration_again(program, fetch) -> None:
    file = program.folder / "guardproxy.yaml"
    file.write_text("listen: {port: 0, admin_port: 0}\n")

    def revision() -> str:
        metrics = fetch(f"{server.admin_url}/metrics").body
        return next(line for line in metrics.splitlines() if line.startswith("guardproxy_config_revision_info"))

    with program.serve("--config", str(file)) as server:
        before = revision()
        file.write_text("listen: {port: 0, admin_port: 0}\non_block: error\n")
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while revision() == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert revision() != before
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_policies_can_be_listed_after_one_option(program) -> None:
    (program.folder / "own.yaml").write_text(
        "version: 1\npack: own\nrules:\n  - {id: no-x, description: d, code: c_c, tools: [x]}\n"
    )
    with program.serve("--policy", "default", "own.yaml") as server:
        assert f"default, {program.folder}/own.yaml: " in "".join(server.said)


def test_a_stray_argument_is_refused(program) -> None:
    assert program.run("serve", "own.yaml").returncode == 2


def test_it_says_when_the_audit_has_no_file(program, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with program.serve() as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    said = "".join(server.said)
    assert "audit     standard output" in said
    assert "cannot be written, so the audit goes to standard output" in said
