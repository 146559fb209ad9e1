import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from guardproxy.telemetry.metrics import Metrics

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, of Prometheus, is not installed"
)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["promtool", *arguments]
    return subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)


def test_the_operators_rules_are_the_plain_ones() -> None:
    plain = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
    wrapped = yaml.safe_load((PROMETHEUS / "prometheusrule.yaml").read_text())
    assert wrapped["kind"] == "PrometheusRule"
    assert wrapped["spec"] == plain


def test_alerts_are_about_metrics_that_there_are() -> None:
    described = {name for family in Metrics().registry.collect() for name in (family.name, f"{family.name}_total")}
    for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            used = set(re.findall(r"guardproxy_\w+", rule["expr"]))
            assert used, rule["alert"]
            assert used <= described
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description"}


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    check = promtool("check", "rules", "alerts.yaml")
    assert check.returncode == 0, check.stdout + check.stderr


@needs_promtool
def test_the_rules_fire_when_they_should_and_only_then() -> None:
    check = promtool("test", "rules", "alerts_test.yaml")
    assert check.returncode == 0, check.stdout + check.stderr


def test_every_alert_has_a_test() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"]
        for rule in group["rules"]
    }
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())["tests"]
    expected = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in expected if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in expected if not case["exp_alerts"]} == alerts
