"""A small configuration on disk that builds in milliseconds: one pack of its own and no classifier."""

from dataclasses import dataclass
from pathlib import Path

import pytest

PACK = """\
version: 1
pack: own
rules:
  - id: no-rm
    description: Nothing is deleted recursively.
    code: destructive
    advice: {advice}
    command: {{program: rm, flags: [r, f]}}
tests:
  - name: deleting everything
    call: {{tool: bash, arguments: {{command: rm -rf /}}}}
    expect: {expect}
"""

SETTINGS = """\
listen: {port: 0, admin_port: 0}
policy: [own.yaml]
guards: {classifier: {enabled: false}}
"""


@dataclass(frozen=True)
class Folder:
    path: Path

    @property
    def settings_file(self) -> Path:
        return self.path / "guardproxy.yaml"

    def write(self, settings: str = SETTINGS, *, advice: str = "Delete less.", expect: str = "block") -> None:
        for name, text in self.texts(settings, advice=advice, expect=expect).items():
            (self.path / name).write_text(text)

    @staticmethod
    def texts(settings: str = SETTINGS, *, advice: str = "Delete less.", expect: str = "block") -> dict[str, str]:
        return {"guardproxy.yaml": settings, "own.yaml": PACK.format(advice=advice, expect=expect)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "etc"
    path.mkdir()
    written = Folder(path)
    written.write()
    return written
