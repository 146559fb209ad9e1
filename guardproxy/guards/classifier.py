"""The local model's opinion of calls and tool results. It says a score for every one, and blocks from a threshold on.

Two stages. The first reads wording and provenance in microseconds, and decides what it is sure of. Only what lies
within its band goes on to llama.cpp, and the two opinions are blended as the model's file says.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from guardproxy.breaker import BreakerState
from guardproxy.classifier.bands import Bands, BandsByTool
from guardproxy.classifier.cache import VerdictCache, digest_of
from guardproxy.classifier.engine import Engine
from guardproxy.classifier.first_stage import FirstStage, ResultOpinion, Scale, features
from guardproxy.classifier.serialise import VERSION, Reading, read_call, read_request, read_result
from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.errors import GuardError
from guardproxy.guards.guard import Context
from guardproxy.judge.judge import Judge
from guardproxy.judge.view import view_of
from guardproxy.model import CallKey, Request, ToolCall, ToolResult, Turn
from guardproxy.provenance import Conversation, trace

_LONG: Final = 16_384  # characters: what is longer is read on another thread, so that the loop goes on
_LEAST: Final = 1e-9  # probabilities are kept this far from 0 and 1, where their log-odds end


@dataclass(frozen=True, slots=True)
class _Judgement:
    score: float
    label: str
    truncated: bool
    unanswered: bool = False  # the larger model gave no verdict


@dataclass(frozen=True, slots=True)
class _Look:
    """A call as the first stage sees it. `truncated`: not all of it could be read; `flagged`: something was
    found in the conversation."""

    call: ToolCall
    reading: Reading
    numbers: tuple[float, ...]
    truncated: bool
    flagged: bool


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """A larger model, asked about calls whose score is at least `low` and below `high`; its score counts in place of
    theirs. Where it gives none within `deadline_s`, `on_error` ALLOW keeps the first score, and BLOCK is no verdict."""

    judge: Judge
    low: float
    high: float
    deadline_s: float
    on_error: OnError


class ClassifierGuard:
    """`deadline_s` is without the second opinion, which has its own. `engine` is None where only the first stage is
    asked, which reads no requests. `result_threshold` and `request_threshold` None take the model's own. `cache_size`
    counts verdicts; 0 keeps none."""

    name = "classifier"

    def __init__(
        self,
        *,
        first: FirstStage,
        engine: Engine | None,
        bands: BandsByTool,
        policy_revision: str,
        second: SecondOpinion | None = None,
        result_threshold: float | None = None,
        request_threshold: float | None = None,
        mode: Mode = Mode.MONITOR,
        on_error: OnError = OnError.BLOCK,
        deadline_s: float = 2.0,
        cache_size: int = 4096,
    ) -> None:
        self.mode = mode
        self.on_error = on_error
        self.deadline_s = deadline_s + (second.deadline_s if second else 0.0)
        self.bands = bands
        self.result_threshold = first.thresholds.result if result_threshold is None else result_threshold
        self.request_threshold = first.thresholds.request if request_threshold is None else request_threshold
        self.truncated = 0  # calls, results and requests that could not be read whole, cached ones included
        self._first = first
        self._engine = engine
        self._second = second
        self._seconds: VerdictCache[float] = VerdictCache(cache_size)
        self._policy_revision = policy_revision
        self._calls: VerdictCache[_Judgement] = VerdictCache(cache_size)
        self._requests: VerdictCache[_Judgement] = VerdictCache(cache_size)
        self._results: VerdictCache[_Judgement] = VerdictCache(cache_size)
        self._margins: VerdictCache[float] = VerdictCache(max(cache_size, 1))  # of results, for calls to be judged by

    @property
    def queue_depth(self) -> int:
        return self._engine.queue_depth if self._engine else 0

    @property
    def breaker_state(self) -> BreakerState:
        return self._engine.breaker_state if self._engine else BreakerState.CLOSED

    @property
    def cache_hits(self) -> int:
        return self._calls.hits

    @property
    def cache_misses(self) -> int:
        return self._calls.misses

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        """A score for every call; raises GuardError as the engine does."""
        ends = asyncio.get_running_loop().time() + self.deadline_s
        looked = await self._look(calls, context)
        findings: dict[CallKey, Sequence[Finding]] = {}
        at_once = self._engine.threads if self._engine else 1 if self._second else max(len(calls), 1)
        # No more at once than there are workers, so that one turn with many calls does not fill the queue for all.
        for start in range(0, len(calls), at_once):
            batch = looked[start : start + at_once]
            judged = await asyncio.gather(*(self._judge_twice(look, context.request, ends) for look in batch))
            findings |= {
                look.call.key: self._findings(look.call, j, context) for look, j in zip(batch, judged, strict=True)
            }
        return findings

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        """How much it reads like an order to the agent."""
        ends = asyncio.get_running_loop().time() + self.deadline_s
        key = digest_of(result.digest, *self._revisions())
        judgement = self._results.get(key)
        if judgement is None:
            opinion = await self._opinion(result)
            judgement = _Judgement(await self._result_score(opinion, ends), "injected", opinion.truncated)
            self._results.put(key, judgement)
        return self._flag(judgement, self.result_threshold, "classifier_injection")

    @property
    def reads_requests(self) -> bool:
        """Whether there is a model that tells the risk of a request."""
        return self._engine is not None and self._first.request_scale is not None

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        """How likely it asks for harm. Nothing where no model reads requests."""
        reading = read_request(request)
        if reading is None or self._engine is None or self._first.request_scale is None:
            return ()
        key = digest_of(reading.lead, reading.body, str(reading.truncated), *self._revisions())
        judgement = self._requests.get(key)
        if judgement is None:
            judgement = await self._judge_request(reading, self._engine, self._first.request_scale)
            self._requests.put(key, judgement)
        return self._flag(judgement, self.request_threshold, "classifier_request")

    async def _judge_request(self, reading: Reading, engine: Engine, scale: Scale) -> _Judgement:
        scores = await engine.score(reading, self.deadline_s)
        score = scale.probability(_log_odds(scores.harmful))
        return _Judgement(score, scores.label, reading.truncated or scores.truncated)

    def _flag(self, judgement: _Judgement, threshold: float, code: str) -> Sequence[Finding]:
        """What a judgement of a result or a request means."""
        self.truncated += judgement.truncated
        verdict, rule = Verdict.BLOCK, judgement.label
        if judgement.score < threshold:
            verdict, rule, code = Verdict.ALLOW, "score", "classifier_score"
        risk = Finding(self.name, rule, code, verdict, self.mode, score=judgement.score)
        return (risk, *self._unread(judgement.truncated))

    async def _opinion(self, result: ToolResult) -> ResultOpinion:
        if len(result.text) > _LONG:
            opinion = await asyncio.to_thread(self._first.judge_result, result.text)
        else:
            opinion = self._first.judge_result(result.text)
        self._margins.put(self._margin_key(result), opinion.margin)
        return opinion

    async def _margin(self, result: ToolResult) -> float:
        margin = self._margins.get(self._margin_key(result))
        return margin if margin is not None else (await self._opinion(result)).margin

    def _margin_key(self, result: ToolResult) -> bytes:
        return digest_of(result.digest, self._first.revision)

    async def _look(self, calls: Sequence[ToolCall], context: Context) -> list[_Look]:
        """What the first stage sees of each call."""
        request = context.request
        margins = [await self._margin(result) for result in request.results]

        def look() -> list[_Look]:
            conversation = Conversation.of(request)
            return [_look_at(call, context, conversation, margins) for call in calls]

        size = sum(len(call.arguments) for call in calls) + sum(len(message.text) for message in request.messages) // 8
        return look() if size <= _LONG else await asyncio.to_thread(look)

    async def _judge_twice(self, look: _Look, request: Request, ends: float) -> _Judgement:
        """And ask the larger model, if there is one and the score lies in its band."""
        judgement = await self._judge(look, ends)
        second = self._second
        if second is None or not second.low <= judgement.score < second.high:
            return judgement
        key = digest_of(view_of(look.call, request).digest.hex(), second.judge.revision, self._policy_revision)
        score = self._seconds.get(key)
        if score is None:
            try:
                score = await second.judge.score(look.call, request, second.deadline_s)
            except GuardError:
                if second.on_error is OnError.BLOCK:
                    raise
                return replace(judgement, unanswered=True)
            self._seconds.put(key, score)
        return replace(judgement, score=score, label="judge")

    async def _judge(self, look: _Look, ends: float) -> _Judgement:
        unbounded = str(look.flagged and self._first.unordered is not None)
        seen = (look.reading.lead, look.reading.body, str(look.truncated), repr(look.numbers), unbounded)
        key = digest_of(*seen, *self._revisions())
        judgement = self._calls.get(key)
        if judgement is None:
            judgement = await self._judge_anew(look, ends)
            self._calls.put(key, judgement)
        self.truncated += judgement.truncated
        return judgement

    async def _judge_anew(self, look: _Look, ends: float) -> _Judgement:
        opinion = self._first.judge_call(look.numbers, flagged=look.flagged)
        blend = self._first.call_blend
        if self._engine is None or blend is None or not blend.asks(opinion.probability):
            return _Judgement(opinion.probability, "risk", look.truncated)
        scores = await self._engine.score(look.reading, ends - asyncio.get_running_loop().time())
        score = blend.probability(opinion.margin, _log_odds(scores.harmful))
        return _Judgement(score, scores.label, look.truncated or scores.truncated)

    async def _result_score(self, opinion: ResultOpinion, ends: float) -> float:
        blend = self._first.result_blend
        if self._engine is None or blend is None or not blend.asks(opinion.probability):
            return opinion.probability
        scores = await self._engine.score(read_result(opinion.body), ends - asyncio.get_running_loop().time())
        return blend.worse(opinion.probability, opinion.margin, _log_odds(scores.harmful))

    def _revisions(self) -> tuple[str, ...]:
        second = self._engine.revision if self._engine else ""
        return (VERSION, second, self._first.revision, self._policy_revision)

    def _findings(self, call: ToolCall, judgement: _Judgement, context: Context) -> Sequence[Finding]:
        verdict, code = _meaning(self.bands.of(call.name), judgement.score, tainted=_flagged(context))
        rule = judgement.label if verdict > Verdict.ALLOW else "score"
        risk = Finding(self.name, rule, code, verdict, self.mode, score=judgement.score)
        silent = (self._note("unanswered", "judge_unanswered"),) if judgement.unanswered else ()
        return (risk, *silent, *self._unread(judgement.truncated))

    def _note(self, rule: str, code: str) -> Finding:
        """Of what was not looked at."""
        return Finding(self.name, rule, code, Verdict.ALLOW, self.mode, uninspected=True)

    def _unread(self, truncated: bool) -> Sequence[Finding]:
        return (self._note("truncated", "classifier_truncated"),) if truncated else ()


def _look_at(call: ToolCall, context: Context, conversation: Conversation, margins: Sequence[float]) -> _Look:
    reading = read_call(call, context.request, conversation.asked)
    provenance = trace(call, conversation)
    truncated = reading.truncated or provenance.truncated
    return _Look(call, reading, features(provenance, margins), truncated, _flagged(context))


def _flagged(context: Context) -> bool:
    """Whether a guard found something in the conversation's results, or in what the user asks for."""
    return bool(context.tainted) or context.risky


def _meaning(bands: Bands, score: float, *, tainted: bool) -> tuple[Verdict, str]:
    if score >= bands.blocks_from(tainted=tainted):
        return Verdict.BLOCK, "classifier_risk"
    if bands.reask is not None and score >= bands.reask:
        return Verdict.REASK, "classifier_doubt"
    if bands.review is not None and score >= bands.review:
        return Verdict.ALLOW, "classifier_review"
    return Verdict.ALLOW, "classifier_score"


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))
