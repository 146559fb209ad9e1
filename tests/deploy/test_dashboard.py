import importlib.util
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from guardproxy.telemetry.metrics import Metrics

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard", GRAFANA / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads((GRAFANA / "guardproxy.json").read_text())  # type: ignore[no-any-return]


def expressions(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def test_the_committed_file_is_what_the_generator_writes(generator: ModuleType) -> None:
    assert (GRAFANA / "guardproxy.json").read_text() == generator.text()


def test_panels_have_their_own_ids_and_places(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_nothing_is_null_but_the_lowest_threshold(dashboard: dict[str, Any]) -> None:
    """Grafana's own types allow no null elsewhere."""
    text = json.dumps(dashboard)
    assert text.count("null") == len(re.findall(r'"color": "green", "value": null', text))


def test_every_metric_has_a_place_on_it(dashboard: dict[str, Any]) -> None:
    used = set(re.findall(r"guardproxy_\w+", " ".join(expressions(dashboard))))
    shown = {re.sub(r"_(total|bucket|info)$", "", name) for name in used}
    described = {family.name for family in Metrics().registry.collect() if family.name.startswith("guardproxy_")}
    assert shown == described - {"guardproxy_config_last_reload_success_timestamp_seconds"}


def test_every_legend_shows_labels_that_the_query_keeps(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {name.strip() for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in by.split(",")}
            assert shown <= kept | {"instance"}, panel["title"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of Prometheus, is not installed")
def test_every_expression_parses(dashboard: dict[str, Any], tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": plain(expr)} for n, expr in enumerate(expressions(dashboard))]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    check = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, timeout=60
    )
    assert check.returncode == 0, check.stdout + check.stderr


def plain(expr: str) -> str:
    """As Grafana sends it."""
    return expr.replace("$__rate_interval", "15s").replace("$__range", "1m").replace("$instance", ".*")
