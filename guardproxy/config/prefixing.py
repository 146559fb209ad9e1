"""The learned prefixes that a configuration names, read and made into what the pipeline asks."""

from collections.abc import Sequence
from pathlib import Path

from guardproxy.config.settings import Prefix, PrefixArm, Settings
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.prefix.arms import MAIN, Arm
from guardproxy.prefix.artifact import PrefixArtifact, load_artifact
from guardproxy.prefix.capability import Capability
from guardproxy.prefix.injector import Prefixer, Turns


def load_arms(settings: Prefix) -> tuple[Arm, ...]:
    """Empty where no prefix is named. Raises ConfigurationError with the faults of every file."""
    files = [*([settings.file] if settings.file else []), *settings.files]
    named = settings.arms or ((PrefixArm(name=MAIN, files=tuple(files)),) if files else ())
    read: dict[Path, PrefixArtifact] = {}
    faults: list[Fault] = []
    for file in dict.fromkeys(file for arm in named for file in arm.files):
        try:
            read[file] = load_artifact(file)
        except ConfigurationError as error:
            faults += error.faults
        else:
            faults += _below_floor(file, read[file], settings)
    if faults:
        raise ConfigurationError(faults)
    return tuple(Arm(arm.name, tuple(read[file] for file in arm.files), arm.weight, arm.shadow) for arm in named)


def make_prefixer(settings: Settings, arms: Sequence[Arm]) -> Prefixer | None:
    if not arms:
        return None
    prefix = settings.prefix
    return Prefixer(
        arms=arms,
        keep=prefix.keep,
        turns=Turns(prefix.turns.value),
        gated=prefix.gate,
        threshold=prefix.gate_threshold,
        upstreams={each.name: Capability(each.prefill.value, each.software) for each in settings.upstreams},
    )


def _below_floor(file: Path, artifact: PrefixArtifact, settings: Prefix) -> list[Fault]:
    """What the artifact itself says of the benign tasks that are done with it, behind its gate where that is on."""
    if settings.floor is None:
        return []
    learned = artifact.gate.scores if settings.gate and settings.gate_threshold is None and artifact.gate else None
    scores = learned or artifact.scores
    if scores is None:
        problem = f"was not measured, and prefix.floor asks for {settings.floor:.0%} of benign tasks done"
        return [Fault(str(file), None, "scores", problem)]
    done = scores.perform.value
    if done >= settings.floor:
        return []
    place = "gate.scores.perform" if learned else "scores.perform"
    problem = f"{done:.0%} of benign tasks done is less than prefix.floor, {settings.floor:.0%}"
    return [Fault(str(file), None, place, problem)]
