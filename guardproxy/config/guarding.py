"""The guards that a configuration enables, in the order in which they are asked."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

from guardproxy.config.classifying import Models
from guardproxy.config.settings import ClassifierGuard as ClassifierSettings
from guardproxy.config.settings import Guard as GuardSettings
from guardproxy.config.settings import Settings
from guardproxy.decision import Mode, OnError
from guardproxy.guards.guard import Guard
from guardproxy.policy.policy import Policy

if TYPE_CHECKING:
    from guardproxy.classifier.bands import BandsByTool
    from guardproxy.classifier.first_stage import FirstStage
    from guardproxy.guards.classifier import SecondOpinion
    from guardproxy.judge.judge import Judge


def make_guards(settings: Settings, policy: Policy, models: Models) -> Iterator[Guard]:
    """Cheap before dear: what the first blocks, the next need not see."""
    guards, first, engine = settings.guards, models.first, models.engine
    if guards.rules.enabled:
        from guardproxy.guards.rules import RulesGuard

        yield RulesGuard(policy=policy, **_common(guards.rules))
    if guards.declared_tools.enabled:
        from guardproxy.guards.declared_tools import DeclaredToolsGuard

        yield DeclaredToolsGuard(allow_opaque=policy.allows_opaque, **_common(guards.declared_tools))
    if first is not None:
        from guardproxy.guards.classifier import ClassifierGuard

        first = (
            first
            if guards.classifier.model is None or engine is None
            else first.replaced_by(engine.calibration.threshold, engine.calibration.tainted_threshold)
        )
        yield ClassifierGuard(
            first=first,
            engine=engine,
            bands=_bands(guards.classifier, first),
            second=_second_opinion(guards.classifier, models.judge),
            result_threshold=guards.classifier.result_threshold,
            request_threshold=guards.classifier.request_threshold,
            cache_size=guards.classifier.cache_size,
            policy_revision=policy.revision,
            **_common(guards.classifier),
        )


def _second_opinion(settings: ClassifierSettings, judge: "Judge | None") -> "SecondOpinion | None":
    if judge is None or settings.second_stage is None:
        return None
    from guardproxy.guards.classifier import SecondOpinion

    second = settings.second_stage
    return SecondOpinion(judge, second.band.low, second.band.high, second.deadline_s, second.on_error)


def _bands(settings: ClassifierSettings, first: "FirstStage") -> "BandsByTool":
    from guardproxy.classifier.bands import Bands, BandsByTool, with_changes

    default = with_changes(
        Bands(first.thresholds.call, first.thresholds.tainted),
        block=settings.threshold,
        tainted=settings.tainted_threshold,
        reask=settings.reask_threshold,
        review=settings.review_threshold,
    )
    tools = {
        pattern: with_changes(
            default,
            block=bands.threshold,
            reask=bands.reask_threshold,
            review=bands.review_threshold,
        )
        for pattern, bands in settings.tools.items()
    }
    return BandsByTool(default, tools)


class _Common(TypedDict):
    mode: Mode
    on_error: OnError
    deadline_s: float


def _common(settings: GuardSettings) -> _Common:
    return {"mode": settings.mode, "on_error": settings.on_error, "deadline_s": settings.deadline_s}
