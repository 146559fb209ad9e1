"""The local model's opinion of a call. It says a score for every call, and blocks from a threshold on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from guardproxy.classifier.breaker import BreakerState
from guardproxy.classifier.cache import VerdictCache, digest_of
from guardproxy.classifier.engine import Engine
from guardproxy.classifier.scores import Scores
from guardproxy.classifier.serialise import VERSION, serialise_call
from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.guards.guard import Context
from guardproxy.model import CallKey, ToolCall, ToolResult, Turn


@dataclass(frozen=True, slots=True)
class _Judgement:
    scores: Scores
    truncated: bool


class ClassifierGuard:
    """Thresholds are probabilities; None takes the model's own. A call that a flagged result may have steered is held
    to the lower one. `cache_size` counts verdicts; 0 keeps none."""

    name = "classifier"

    def __init__(
        self,
        *,
        engine: Engine,
        policy_revision: str,
        threshold: float | None = None,
        tainted_threshold: float | None = None,
        mode: Mode = Mode.MONITOR,
        on_error: OnError = OnError.BLOCK,
        deadline_s: float = 2.0,
        cache_size: int = 4096,
    ) -> None:
        self.mode = mode
        self.on_error = on_error
        self.deadline_s = deadline_s
        self.threshold = engine.calibration.threshold if threshold is None else threshold
        own = engine.calibration.tainted_threshold if tainted_threshold is None else tainted_threshold
        self.tainted_threshold = min(self.threshold, own)
        self.truncated = 0  # calls of which the model could not read everything, cached ones included
        self._engine = engine
        self._policy_revision = policy_revision
        self._cache: VerdictCache[_Judgement] = VerdictCache(cache_size)

    @property
    def queue_depth(self) -> int:
        return self._engine.queue_depth

    @property
    def breaker_state(self) -> BreakerState:
        return self._engine.breaker_state

    @property
    def cache_hits(self) -> int:
        return self._cache.hits

    @property
    def cache_misses(self) -> int:
        return self._cache.misses

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        """A score for every call; raises GuardError as the engine does."""
        ends = asyncio.get_running_loop().time() + self.deadline_s
        findings: dict[CallKey, Sequence[Finding]] = {}
        # No more at once than there are workers, so that one turn with many calls does not fill the queue for all.
        for start in range(0, len(calls), self._engine.threads):
            batch = calls[start : start + self._engine.threads]
            judged = await asyncio.gather(*(self._judge(call, context, ends) for call in batch))
            findings |= {call.key: self._findings(j, context) for call, j in zip(batch, judged, strict=True)}
        return findings

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        """Nothing: the shipped model was not trained to judge results."""
        return ()

    async def _judge(self, call: ToolCall, context: Context, ends: float) -> _Judgement:
        serialised = serialise_call(call, context.request)
        key = self._key(serialised.text, serialised.truncated, bool(context.tainted))
        judgement = self._cache.get(key)
        if judgement is None:
            left = ends - asyncio.get_running_loop().time()
            scores = await self._engine.score(serialised.text, left)
            judgement = _Judgement(scores, serialised.truncated or scores.truncated)
            self._cache.put(key, judgement)
        self.truncated += judgement.truncated
        return judgement

    def _key(self, text: str, truncated: bool, tainted: bool) -> bytes:
        revisions = (VERSION, self._engine.revision, self._policy_revision)
        return digest_of(text, str(truncated), str(tainted), *revisions)

    def _findings(self, judgement: _Judgement, context: Context) -> Sequence[Finding]:
        scores = judgement.scores
        limit = self.tainted_threshold if context.tainted else self.threshold
        if scores.harmful >= limit:
            risk = Finding(self.name, scores.label, "classifier_risk", Verdict.BLOCK, self.mode, score=scores.harmful)
        else:
            risk = Finding(self.name, "score", "classifier_score", Verdict.ALLOW, self.mode, score=scores.harmful)
        if not judgement.truncated:
            return (risk,)
        return (risk, Finding(self.name, "truncated", "classifier_truncated", Verdict.ALLOW, self.mode))
