"""A thin typed skin over the low-level functions of llama-cpp-python: one model, several contexts.

An encode never exceeds `n_ubatch` tokens: more is an assertion that ends the process.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

from guardproxy import llamacpp
from guardproxy.llamacpp import ABORTED, Aborted, EncodeFailure, LoadFailure, load_bindings, load_model, nonzero_at

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


class Context:
    """Room to run sequences of up to `capacity` tokens, one at a time, on one core. For one thread at a time."""

    def __init__(self, model: Model, capacity: int, pooling: Pooling = Pooling.RANK) -> None:
        self._llama = load_bindings()
        self.capacity = capacity
        self._outputs = model.width if pooling is Pooling.MEAN else len(model.labels)
        self._abort_flag = ctypes.create_string_buffer(2)
        handle = self._llama.llama_init_from_model(model.handle, self._parameters(pooling))
        if not handle:
            raise LoadFailure("llama.cpp could not make a context for it")
        self._handle = handle

    def _parameters(self, pooling: Pooling) -> Any:  # a ctypes structure
        parameters = self._llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = self.capacity
        parameters.n_seq_max = 1
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.embeddings = True
        parameters.pooling_type = int(pooling)
        parameters.flash_attn_type = self._llama.LLAMA_FLASH_ATTN_TYPE_ENABLED
        parameters.no_perf = True
        parameters.abort_callback = nonzero_at(self._llama)
        parameters.abort_callback_data = ctypes.cast(self._abort_flag, ctypes.c_void_p)
        return parameters

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

    def abort(self) -> None:
        """Makes the encode in progress, and any later one until `rearm`, stop within one graph node. Any thread may."""
        self._abort_flag[0] = b"\x01"

    def rearm(self) -> None:
        self._abort_flag[0] = b"\x00"

    def close(self) -> None:
        if self._handle is not None:
            self._llama.llama_free(self._handle)
            self._handle = None
