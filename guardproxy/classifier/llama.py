"""A thin typed skin over the low-level functions of llama-cpp-python: one model, several contexts.

An encode never exceeds `n_ubatch` tokens: more is an assertion that ends the process.
"""

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

from guardproxy import llamacpp
from guardproxy.llamacpp import ABORTED, Aborted, EncodeFailure, LoadFailure, load_bindings, load_model

__all__ = ["Aborted", "Context", "EncodeFailure", "LoadFailure", "Model", "Pooling"]


class Pooling(IntEnum):
    MEAN = 1
    RANK = 4  # the classification head


class Model:
    """The weights, shared by every context. Close it after the last of them."""

    def __init__(self, path: Path) -> None:
        self._llama = load_bindings()
        handle = load_model(path)
        self.handle = handle
        self._vocabulary = self._llama.llama_model_get_vocab(handle)
        self.begin = int(self._llama.llama_vocab_bos(self._vocabulary))
        self.end = int(self._llama.llama_vocab_sep(self._vocabulary))
        self.context_length = int(self._llama.llama_model_n_ctx_train(handle))
        self.width = int(self._llama.llama_model_n_embd(handle))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the head's outputs; empty where there is no head or it has no names."""
        count = int(self._llama.llama_model_n_cls_out(self.handle))
        names = (self._llama.llama_model_cls_label(self.handle, i) for i in range(count))
        return tuple(name.decode("utf-8", "replace") for name in names if name)

    def metadata(self, key: str) -> str | None:
        return llamacpp.metadata(self.handle, key)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of `text` without the ones that begin and end a sequence; `[SEP]` in it is text like any other."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8  # WordPiece makes no more pieces than there are bytes
        tokens = (self._llama.llama_token * room)()
        count = self._llama.llama_tokenize(self._vocabulary, data, len(data), tokens, room, False, False)
        if count < 0:
            raise EncodeFailure("the tokenizer needs more room than there are bytes")
        return list(tokens[:count])

    def close(self) -> None:
        if self.handle is not None:
            self._llama.llama_model_free(self.handle)
            self.handle = None


class Context(llamacpp.Context):
    """Room to run sequences of up to `capacity` tokens, one at a time, on one core."""

    def __init__(self, model: Model, capacity: int, pooling: Pooling = Pooling.RANK) -> None:
        super().__init__(model.handle, _parameters(capacity, pooling))
        self.capacity = capacity
        self._outputs = model.width if pooling is Pooling.MEAN else len(model.labels)

    def encode(self, tokens: Sequence[int]) -> list[float]:
        """The outputs for one sequence, its first and last special tokens included. Raises Aborted, EncodeFailure."""
        if not 0 < len(tokens) <= self.capacity:
            raise EncodeFailure(f"{len(tokens)} tokens in a context of {self.capacity}")
        array = (self._llama.llama_token * len(tokens))(*tokens)
        status = self._llama.llama_encode(self._handle, self._llama.llama_batch_get_one(array, len(tokens)))
        if status == ABORTED:
            raise Aborted
        if status != 0:
            raise EncodeFailure(f"llama_encode returned {status}")
        outputs = self._llama.llama_get_embeddings_seq(self._handle, 0)
        if not outputs:
            raise EncodeFailure("llama.cpp gave no output")
        return [float(value) for value in outputs[: self._outputs]]


def _parameters(capacity: int, pooling: Pooling) -> Any:  # a ctypes structure
    llama = load_bindings()
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = capacity
    parameters.n_threads = parameters.n_threads_batch = 1
    parameters.embeddings = True
    parameters.pooling_type = int(pooling)
    parameters.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED
    return parameters
