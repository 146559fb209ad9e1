"""From an operator's settings to a judge."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from guardproxy.errors import ConfigurationError, Fault
from guardproxy.judge.judge import Judge

if TYPE_CHECKING:
    from guardproxy.config.settings import SecondStage


def build_judge(settings: "SecondStage") -> Judge:
    """A judge that is ready. Slow for a model file: on a live event loop, call it in a thread.

    Raises ConfigurationError.
    """
    if settings.litellm is not None:
        return _remote(settings, settings.litellm)
    if settings.model is None:
        raise ConfigurationError([_fault("model", "names no file")])
    from guardproxy.judge.engine import load_judge  # llama.cpp: dear

    return load_judge(
        settings.model,
        format_name=settings.format,
        context_tokens=settings.context_tokens,
        workers=settings.workers,
        threads=settings.threads,
        queue=settings.queue,
    )


def _remote(settings: "SecondStage", model: str) -> Judge:
    if find_spec("litellm") is None:
        raise ConfigurationError(
            [_fault("litellm", "needs a library that is not installed: pip install 'guardproxy[litellm]'")]
        )
    from guardproxy.judge.remote import RemoteJudge

    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    return RemoteJudge(model, api_key=key, base_url=settings.base_url, queue=settings.queue)


def _fault(field: str, problem: str) -> Fault:
    return Fault("guards", None, f"classifier.second_stage.{field}", problem)
