"""The organism's own tokenizer: byte-level BPE, digits apart, trained on its world."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from guardproxy.upstream.organism.template import MARKS, Piece
from training.organisms.corpus import Row, Stage, rows

PIECES: Final = 1536
_SAMPLES: Final = 12_000


def train_tokenizer(seed: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=[AddedToken(mark, normalized=False, special=True) for mark in MARKS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed), trainer)
    return tokenizer


def _texts(seed: int) -> Iterable[str]:
    for stage in Stage:
        for row in itertools.islice(rows(stage, seed), _SAMPLES):
            yield from (piece.text for piece, _ in row if not piece.mark and piece.text)


class Encoder:
    """Rows as token ids; a text never becomes a mark."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._marks = {mark: tokenizer.token_to_id(mark) for mark in MARKS}
        self._tokenizer.encode_special_tokens = True

    def pieces(self, pieces: Iterable[Piece]) -> list[int]:
        return [token for piece in pieces for token in self.piece(piece)]

    def piece(self, piece: Piece) -> Sequence[int]:
        if piece.mark:
            return (self._marks[piece.text],)
        ids: list[int] = self._tokenizer.encode(piece.text, add_special_tokens=False).ids
        return ids

    def row(self, row: Row) -> tuple[list[int], list[bool]]:
        tokens: list[int] = []
        learned: list[bool] = []
        for piece, learn in row:
            ids = self.piece(piece)
            tokens += ids
            learned += [learn] * len(ids)
        return tokens, learned


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
