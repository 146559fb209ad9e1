"""The Responses API does what every surface does."""

from collections.abc import Sequence
from typing import Any

from guardproxy.model import CallKind
from guardproxy.testing.conformance import SurfaceConformance
from guardproxy.testing.script import Call
from guardproxy.testing.trial import Trial
from guardproxy.testing.wires.responses import ResponsesWire


class TestResponses(SurfaceConformance):
    wire = ResponsesWire()

    def check_feedback(self, trial: Trial, discarded: Sequence[Call]) -> None:
        """An approval is answered by a refusal to approve, which is no result."""
        if self.wire.shapes[discarded[0].shape].kind is not CallKind.APPROVAL:
            return super().check_feedback(trial, discarded)
        items: Any = (trial.under_test.upstream.asked[1].tree or {})["input"]
        answers = [item for item in items if item["type"] == "mcp_approval_response"]
        assert [(item["approval_request_id"], item["approve"]) for item in answers] == [
            (c.id, False) for c in discarded
        ]
