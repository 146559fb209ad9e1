"""The model server and, before it, a real proxy in a process of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guardproxy.testing.service import Service, serving
from tests.frameworks.upstream import Upstream, upstream

CONFIG = """
upstreams:
  - {{name: chat-only, base_url: "{root}/v1", models: ["*-bridged"], serves: [chat_completions]}}
  - {{name: main, base_url: "{root}/v1"}}
request: {{provider_tools: strip}}  # for Codex
guards:
  classifier: {{enabled: false}}
"""


@contextmanager
def setting() -> Iterator[tuple[Upstream, Service]]:
    with (
        tempfile.TemporaryDirectory(prefix="guardproxy-frameworks-") as directory,
        upstream() as server,
        serving(Path(directory), CONFIG.format(root=server.root)) as proxy,
    ):
        yield server, proxy
