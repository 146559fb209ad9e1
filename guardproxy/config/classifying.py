"""The classifier's models as a configuration asks for them, and what is done where one cannot be had."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardproxy.config.attempts import Attempts
from guardproxy.config.settings import ClassifierGuard, OnModelFault, Stages
from guardproxy.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from guardproxy.classifier.engine import Engine
    from guardproxy.classifier.first_stage import FirstStage
    from guardproxy.judge.judge import Judge


@dataclass(frozen=True, slots=True)
class Models:
    """None for what is not asked for, and for what `faults` tells of: the configuration lets it go on without."""

    first: "FirstStage | None" = None
    engine: "Engine | None" = None
    judge: "Judge | None" = None
    faults: tuple[Fault, ...] = ()

    @property
    def running(self) -> "Sequence[Engine | Judge]":
        """What judges on threads of its own."""
        return [model for model in (self.engine, self.judge) if model is not None]

    def close_unshared(self, heir: "Models | None") -> None:
        """Closes what `heir` did not take over. It waits for threads, so not on an event loop."""
        shared = () if heir is None else heir.running
        for model in self.running:
            if not any(model is other for other in shared):
                model.close()


NONE = Models()


def load_models(settings: ClassifierGuard, old: ClassifierGuard | None, made: Models) -> Models:
    """`made` was loaded for `old`: what is the same goes on. Raises ConfigurationError with the faults of all models,
    unless the settings say to go on with what can be had."""
    if not settings.enabled:
        return NONE
    attempts = Attempts()
    first = attempts.make(_first_stage)
    engine = attempts.make(lambda: _engine(settings, first, old, made)) if first is not None else None
    judge = attempts.make(lambda: _judge(settings, old, made))
    models = Models(first, engine, judge, tuple(attempts.faults))
    if models.faults and settings.on_model_fault is OnModelFault.REFUSE:
        models.close_unshared(made)
        raise ConfigurationError(models.faults)
    return models


def _first_stage() -> "FirstStage":
    from guardproxy.classifier.model_file import load_first_stage

    return load_first_stage()


def _engine(
    settings: ClassifierGuard, first: "FirstStage", old: ClassifierGuard | None, made: Models
) -> "Engine | None":
    if settings.stages is Stages.FIRST or (settings.model is None and not first.asks_second):
        return None
    if old is not None and made.engine is not None and _same_engine(settings, old, made.engine):
        return made.engine
    from guardproxy.classifier.engine import load_engine  # llama.cpp: dear, and not every deployment runs a classifier

    return load_engine(settings.model, settings.threads, settings.queue)


def _same_engine(settings: ClassifierGuard, old: ClassifierGuard, engine: "Engine") -> bool:
    """The shipped model never changes under a running process; a file of the operator's may."""
    same = (settings.threads, settings.queue, settings.model) == (old.threads, old.queue, old.model)
    if not same or settings.model is None:
        return same
    from guardproxy.classifier.model_file import find_model

    return find_model(settings.model).revision == engine.revision


def _judge(settings: ClassifierGuard, old: ClassifierGuard | None, made: Models) -> "Judge | None":
    if settings.second_stage is None:
        return None
    if old is not None and made.judge is not None and settings.second_stage == old.second_stage:
        return made.judge
    from guardproxy.judge.build import build_judge

    return build_judge(settings.second_stage)
