"""One context of the organism that writes: it reads a prompt and says which token comes next, until it is stopped.

The prompt is always read as a whole and alone, so that the same prompt has the same answer.
"""

import ctypes
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from guardproxy.judge.causal import Context, Model
from guardproxy.llamacpp import EncodeFailure, load_bindings
from guardproxy.upstream.organism.template import CALL, END, MARKS, Piece

_PIECE_BYTES: Final = 256


class TooLong(Exception):
    """The prompt has more tokens than the model can read. The message says so."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """At `temperature` 0 the likeliest token is taken. `seed` decides above it."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """`mark` is empty for a piece of text. `logprob` is by the model, not asked for: NaN."""

    data: bytes
    mark: str
    logprob: float
    likeliest: Sequence[tuple[bytes, float]]


class Vocabulary:
    """The tokens of one model, as bytes and as marks."""

    def __init__(self, model: Model) -> None:
        llama = load_bindings()
        self._model = model
        handle = llama.llama_model_get_vocab(model.handle)
        self.size = int(llama.llama_vocab_n_tokens(handle))
        self.bytes = [_bytes_of(llama, handle, token) for token in range(self.size)]
        self.marks = {mark: self._mark(mark) for mark in MARKS}
        self._named = {token: mark for mark, token in self.marks.items()}
        self.end = self.marks[END]

    def tokens(self, pieces: Iterator[Piece]) -> list[int]:
        found: list[int] = []
        for piece in pieces:
            found += [self.marks[piece.text]] if piece.mark else self._model.tokenize(piece.text, special=False)
        return found

    def mark_of(self, token: int) -> str:
        return self._named.get(token, "")

    def _mark(self, mark: str) -> int:
        (token,) = self._model.tokenize(mark, special=True)
        return token


class Pen(Context):
    """For one thread at a time."""

    def __init__(self, model: Model, vocabulary: Vocabulary, threads: int = 1) -> None:
        super().__init__(model, model.context_length, threads)
        self._vocabulary = vocabulary

    def write(
        self, prompt: Sequence[int], sampling: Sampling, room: int, likeliest: int, *, calls: bool = True
    ) -> Iterator[Token]:
        """At most `room` tokens, up to the end mark, which is the last, or to the end of the context.

        `likeliest`: how many others every token tells of; below 0 it tells no probabilities. Without `calls` it
        begins none. `prompt` must have room. Raises Aborted.
        """
        dice = random.Random(sampling.seed)
        self.rewind(0)
        self.read(prompt)
        for _ in range(min(room, self.capacity - len(prompt))):
            scores = self.scores()
            if not calls:
                scores[self._vocabulary.marks[CALL]] = -math.inf
            token = _chosen(scores, sampling, dice)
            yield self._token(token, scores, likeliest)
            if token == self._vocabulary.end or self.length == self.capacity:
                return
            self.read([token])

    def require_room(self, prompt: Sequence[int]) -> None:
        """Raises TooLong."""
        if len(prompt) >= self.capacity:
            raise TooLong(f"the prompt has {len(prompt)} tokens, and this model reads {self.capacity - 1}")

    def scores(self) -> list[float]:
        """Of every token, how strongly it would come next."""
        found = self._llama.llama_get_logits_ith(self._handle, -1)
        if not found:
            raise EncodeFailure("llama.cpp gave no output")
        return list((ctypes.c_float * self._vocabulary.size).from_address(ctypes.addressof(found.contents)))

    def _token(self, token: int, scores: Sequence[float], likeliest: int) -> Token:
        data, mark = self._vocabulary.bytes[token], self._vocabulary.mark_of(token)
        if likeliest < 0:
            return Token(data, mark, math.nan, ())
        total = _log_total(scores)
        best = sorted(range(len(scores)), key=lambda each: -scores[each])[:likeliest]
        beside = [(self._vocabulary.bytes[each], scores[each] - total) for each in best]
        return Token(data, mark, scores[token] - total, beside)


def _chosen(scores: Sequence[float], sampling: Sampling, dice: random.Random) -> int:
    if sampling.temperature <= 0:
        return scores.index(max(scores))
    top = max(scores)
    weights = [math.exp((score - top) / sampling.temperature) for score in scores]
    order = sorted(range(len(weights)), key=lambda each: -weights[each])
    left = sampling.top_p * sum(weights)
    kept: list[int] = []
    for token in order:
        kept.append(token)
        left -= weights[token]
        if left <= 0:
            break
    return dice.choices(kept, [weights[token] for token in kept])[0]


def _log_total(scores: Sequence[float]) -> float:
    top = max(scores)
    return top + math.log(sum(math.exp(score - top) for score in scores))


def _bytes_of(llama: Any, vocabulary: Any, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(_PIECE_BYTES)
    length = llama.llama_token_to_piece(vocabulary, token, buffer, len(buffer), 0, True)
    return buffer.raw[: max(length, 0)]
