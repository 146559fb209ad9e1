"""A guard model in this process, in llama.cpp. It is asked for no text: what counts is how likely its first word is.

The constant beginning of the prompt is read once for each context and kept. Then a judgement costs the tokens that show
the call, and those of the closing question. The model's work is never done on the event loop.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from guardproxy.breaker import Breaker, BreakerState
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.flights import Flights
from guardproxy.judge import formats, view
from guardproxy.judge.causal import Context, Model
from guardproxy.judge.fit import LEAST_ROOM, Fitted, fit
from guardproxy.judge.formats import FORMATS, Format, FormatName, Part, Piece
from guardproxy.judge.look import look_at
from guardproxy.judge.view import View
from guardproxy.llamacpp import EncodeFailure, LoadFailure
from guardproxy.model import Request, ToolCall

_MAGIC: Final = b"GGUF"
_SAMPLE: Final = 1 << 20  # bytes at either end of a file that name it
_WIDEST: Final = View("", "", "", "", ("",) * view.MAX_RESULTS, False)  # the most that templates take
_HERE: Final = "GUARDPROXYMATERIAL"
_NO_THOUGHTS: Final = "<think>\n\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A format in the tokens of one model. `words` are the first tokens of verdicts, with the harm that each says;
    `marks` the special ones among the template's own."""

    format: Format
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    words: tuple[tuple[int, float], ...]
    marks: frozenset[int]


class LocalJudge:
    """Safe to use from several event loops and threads. `close` it; afterwards every `score` raises."""

    def __init__(
        self,
        model: Model,
        prompt: Prompt,
        *,
        revision: str,
        context_tokens: int,
        workers: int,
        threads: int,
        queue: int,
        breaker: Breaker | None = None,
    ) -> None:
        self.revision = revision
        self.format = prompt.format.name
        self.truncated = 0
        self._counting = Lock()
        self._model = model
        self._prompt = prompt
        self._contexts: list[Context] = []
        try:
            for _ in range(workers):
                context = Context(model, context_tokens, threads)
                self._contexts.append(context)
                context.read(prompt.prefix)
        except BaseException:
            self._free()
            raise
        self._flights: Flights[Context, float] = Flights(
            "judge", self._contexts, queue=queue, breaker=breaker or Breaker()
        )

    @property
    def queue_depth(self) -> int:
        """Calls that wait for a free worker."""
        return self._flights.waiting

    @property
    def breaker_state(self) -> BreakerState:
        return self._flights.breaker_state

    async def score(self, call: ToolCall, request: Request, deadline_s: float) -> float:
        began = time.monotonic()
        shown = await look_at(call, request)
        left = deadline_s - (time.monotonic() - began)
        return await self._flights.run(shown.digest, lambda context: self._judge(shown, context), left)

    def close(self) -> None:
        if self._flights.close():
            self._free()

    def _free(self) -> None:
        for context in self._contexts:
            context.close()
        self._model.close()

    def _judge(self, shown: View, context: Context) -> float:
        fitted = self._fitted(shown)
        if fitted.truncated or shown.truncated:
            with self._counting:
                self.truncated += 1
        return max(self._window_scores(fitted, context))

    def _fitted(self, shown: View) -> Fitted:
        marks = self._prompt.marks
        pieces = [(piece.part, tokens_of(self._model, piece, marks)) for piece in self._prompt.format.body(shown)]
        return fit(pieces, self._contexts[0].capacity - len(self._prompt.prefix) - len(self._prompt.suffix))

    def _window_scores(self, fitted: Fitted, context: Context) -> Iterator[float]:
        prefix = self._prompt.prefix
        start = (*prefix, *fitted.before)
        go_on(context, len(prefix), start)
        for window in fitted.windows:
            go_on(context, len(start), (*start, *window, *self._prompt.suffix))
            yield harm(context.logits([token for token, _ in self._prompt.words]), self._prompt.words)


def go_on(context: Context, kept: int, tokens: Sequence[int]) -> None:
    """Makes the context one that has read `tokens`, of which it still knows the first `kept` if it can go back."""
    context.rewind(kept)
    context.read(tokens[context.length :])


def harm(logits: Sequence[float], words: Sequence[tuple[int, float]]) -> float:
    """The expected harm when the next word is one of `words`. Raises EncodeFailure for logits that are no numbers."""
    if not all(map(math.isfinite, logits)):
        raise EncodeFailure("the model's output is not finite")
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    said = sum(weight * each for weight, (_, each) in zip(weights, words, strict=True))
    return min(1.0, said / sum(weights))


def tokens_of(model: Model, piece: Piece, marks: frozenset[int]) -> list[int]:
    """A template's special tokens are tokens; in anyone else's text they are letters.

    Some files declare theirs in a way that has them read in any text: there they are left out.
    """
    if piece.part is Part.TEMPLATE:
        return model.tokenize(piece.text, special=True)
    return [token for token in model.tokenize(piece.text, special=False) if token not in marks]


# --- loading -------------------------------------------------------------------------------------------------------


def load_judge(
    path: Path,
    *,
    format_name: FormatName = FormatName.AUTO,
    context_tokens: int = 2048,
    workers: int = 1,
    threads: int = 2,
    queue: int = 16,
) -> LocalJudge:
    """A judge that is ready. Slow: it reads the file and the prompt's beginning. Raises ConfigurationError."""
    sample = _sample(path)
    try:
        model = Model(path)
    except LoadFailure as error:
        raise refuse(path, str(error)) from error
    try:
        chosen = _format(model, format_name, path)
        prompt = prepare(model, chosen, path)
        _check_room(model, prompt, context_tokens, path)
        revision = hashlib.sha256(f"{sample} {prompt} {formats.VERSION} {view.VERSION} {context_tokens}".encode())
        return LocalJudge(
            model,
            prompt,
            revision=revision.hexdigest()[:12],
            context_tokens=context_tokens,
            workers=workers,
            threads=threads,
            queue=queue,
        )
    except (LoadFailure, EncodeFailure) as error:
        model.close()
        raise refuse(path, str(error)) from error
    except BaseException:
        model.close()
        raise


def refuse(path: Path, problem: str) -> ConfigurationError:
    return ConfigurationError([Fault(str(path), None, "", f"second stage's model: {problem}")])


def _sample(path: Path) -> str:
    """A digest of the file's size and ends: these files have gigabytes, and a judge is no secret of the wheel's."""
    try:
        with path.open("rb") as file:
            head = file.read(_SAMPLE)
            if not head.startswith(_MAGIC):
                raise refuse(path, "not a GGUF file")
            size = file.seek(0, 2)
            file.seek(max(0, size - _SAMPLE))
            return hashlib.sha256(b"%d %s %s" % (size, head, file.read())).hexdigest()
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error


def _format(model: Model, name: FormatName, path: Path) -> Format:
    if name is FormatName.AUTO:
        found = formats.recognise(model.architecture, model.name, model.chat_template)
        if found is None:
            raise refuse(path, "it says nothing of a format that is known here; name one in `format`")
        name = found
    return _instruct(model, path) if name is FormatName.INSTRUCT else FORMATS[name]


def _instruct(model: Model, path: Path) -> Format:
    rendered = model.chat(_HERE) if model.chat_template else None
    if rendered is None or rendered.count(_HERE) != 1:
        raise refuse(path, "it has no chat template that llama.cpp knows, which the format instruct needs")
    before, _, after = rendered.partition(_HERE)
    thinks = "enable_thinking" in model.chat_template  # such a model answers at once after empty thoughts
    return formats.instruct(before, after + (_NO_THOUGHTS if thinks else ""))


def prepare(model: Model, chosen: Format, path: Path) -> Prompt:
    """The format in the model's tokens. Raises ConfigurationError where the vocabulary is of another family."""
    for text in chosen.special:
        tokens = model.tokenize(text, special=True)
        if len(tokens) != 1 or not model.is_mark(tokens[0]):
            raise refuse(path, f"its vocabulary has no token {text}, which the format {chosen.name} needs")
    prefix = model.tokenize(chosen.prefix, special=True)
    if chosen.name is FormatName.INSTRUCT and model.begins and prefix[:1] != [model.begin]:
        prefix.insert(0, model.begin)
    words = _words(model, chosen)
    if {each for _, each in words} != {verdict.harm for verdict in chosen.verdicts}:
        raise refuse(path, f"its vocabulary cannot tell the verdicts of the format {chosen.name} by their first token")
    suffix = model.tokenize(chosen.suffix, special=True)
    between = [token for piece in _templates(chosen) for token in model.tokenize(piece.text, special=True)]
    marks = frozenset(token for token in (*prefix, *suffix, *between) if model.is_mark(token))
    return Prompt(chosen, tuple(prefix), tuple(suffix), words, marks)


def _templates(chosen: Format) -> list[Piece]:
    return [piece for piece in chosen.body(_WIDEST) if piece.part is Part.TEMPLATE]


def _words(model: Model, chosen: Format) -> tuple[tuple[int, float], ...]:
    """The tokens that verdicts begin with; none that two verdicts share."""
    suffix = model.tokenize(chosen.suffix, special=True)
    firsts: dict[int, set[float]] = {}
    for verdict in chosen.verdicts:
        for spelling in verdict.spellings:
            answered = model.tokenize(chosen.suffix + spelling, special=True)
            if answered[: len(suffix)] == suffix and len(answered) > len(suffix):
                firsts.setdefault(answered[len(suffix)], set()).add(verdict.harm)
    return tuple((token, harms.pop()) for token, harms in firsts.items() if len(harms) == 1)


def _check_room(model: Model, prompt: Prompt, context_tokens: int, path: Path) -> None:
    if model.context_length < context_tokens:
        raise refuse(path, f"its context of {model.context_length} tokens is below the {context_tokens} configured")
    between = sum(len(tokens_of(model, piece, prompt.marks)) for piece in _templates(prompt.format))
    needed = len(prompt.prefix) + len(prompt.suffix) + between
    if needed + LEAST_ROOM > context_tokens:
        raise refuse(path, f"its prompt needs a context of at least {needed + LEAST_ROOM} tokens")
