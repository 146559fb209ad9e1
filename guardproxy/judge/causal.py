"""A thin typed skin over llama.cpp for models that write: one model, several contexts, and nothing is generated.

A context keeps what it has read. `rewind` forgets the end of it again, so what many prompts begin with is read once.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from guardproxy import llamacpp
from guardproxy.llamacpp import ABORTED, Aborted, EncodeFailure, LoadFailure, load_bindings, load_model

_BATCH: Final = 512  # tokens that are read at a time; the memory for it grows with their number
_WRITERS_ONLY: Final = "it is no model that writes text"


class Model:
    """The weights, shared by every context. Close it after the last of them. Raises LoadFailure."""

    def __init__(self, path: Path) -> None:
        self._llama = load_bindings()
        self.handle = load_model(path)
        self._vocabulary = self._llama.llama_model_get_vocab(self.handle)
        self.architecture = self.metadata("general.architecture") or ""
        self.name = " ".join(filter(None, (self.metadata(f"general.{key}") for key in ("name", "basename", "version"))))
        self.chat_template = (self._llama.llama_model_chat_template(self.handle, None) or b"").decode(
            "utf-8", "replace"
        )
        self.context_length = int(self._llama.llama_model_n_ctx_train(self.handle))
        self.begin = int(self._llama.llama_vocab_bos(self._vocabulary))
        self.begins = bool(self._llama.llama_vocab_get_add_bos(self._vocabulary))
        if problem := self._problem():
            self.close()
            raise LoadFailure(problem)

    def _problem(self) -> str:
        if self._llama.llama_model_has_encoder(self.handle) or not self._llama.llama_model_has_decoder(self.handle):
            return _WRITERS_ONLY
        if self.metadata(f"{self.architecture}.attention.causal") == "false" or self.metadata(
            f"{self.architecture}.pooling_type"
        ) not in (None, "0"):
            return _WRITERS_ONLY
        if int(self._llama.llama_vocab_n_tokens(self._vocabulary)) < 2 or not self.tokenize("a", special=False):
            return "it has no vocabulary"
        return ""

    def metadata(self, key: str) -> str | None:
        return llamacpp.metadata(self.handle, key)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Tokens of `text`, none added. With `special`, `<|im_end|>` in it is that token; else it is text."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        tokens = (self._llama.llama_token * room)()
        count = self._llama.llama_tokenize(self._vocabulary, data, len(data), tokens, room, False, special)
        if count < 0:
            raise EncodeFailure("the tokenizer needs more room than there are bytes")
        return list(tokens[:count])

    def is_mark(self, token: int) -> bool:
        """Whether it is no piece of text. Some of these are found in any text, `special` or not."""
        attributes = int(self._llama.llama_vocab_get_attr(self._vocabulary, token))
        return bool(attributes & (self._llama.LLAMA_TOKEN_ATTR_CONTROL | self._llama.LLAMA_TOKEN_ATTR_USER_DEFINED))

    def chat(self, content: str) -> str | None:
        """`content` as the user's only message, and the beginning of the answer. None where llama.cpp does not know
        the file's chat template; it reads none but goes by their marks."""
        message = self._llama.llama_chat_message(role=b"user", content=content.encode())
        messages = (self._llama.llama_chat_message * 1)(message)
        buffer = ctypes.create_string_buffer(2 * len(content) + 4096)
        template = self.chat_template.encode()
        length = self._llama.llama_chat_apply_template(template, messages, 1, True, buffer, len(buffer))
        return buffer.raw[:length].decode() if 0 < length <= len(buffer) else None

    def close(self) -> None:
        if self.handle is not None:
            self._llama.llama_model_free(self.handle)
            self.handle = None


class Context(llamacpp.Context):
    """Room to read `capacity` tokens with `threads` cores."""

    def __init__(self, model: Model, capacity: int, threads: int) -> None:
        super().__init__(model.handle, _parameters(capacity, threads))
        self.capacity = capacity
        self.length = 0  # tokens read and not forgotten
        self._memory = self._llama.llama_get_memory(self._handle)

    def read(self, tokens: Sequence[int]) -> None:
        """Reads on from what was read so far. Raises Aborted, EncodeFailure; then `rewind` before anything else."""
        if self.length + len(tokens) > self.capacity:
            raise EncodeFailure(f"{self.length + len(tokens)} tokens in a context of {self.capacity}")
        for start in range(0, len(tokens), _BATCH):
            self._decode(tokens[start : start + _BATCH])

    def _decode(self, tokens: Sequence[int]) -> None:
        if self._abort_flag[0] != b"\x00":
            raise Aborted
        array = (self._llama.llama_token * len(tokens))(*tokens)
        status = self._llama.llama_decode(self._handle, self._llama.llama_batch_get_one(array, len(tokens)))
        if status == ABORTED:
            raise Aborted
        if status != 0:
            raise EncodeFailure(f"llama_decode returned {status}")
        self.length += len(tokens)

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` tokens, and what an aborted reading left half read.

        It forgets everything where a model's memory cannot be cut: see `length` for what it still knows.
        """
        self.length = min(length, self.length)
        if not self._llama.llama_memory_seq_rm(self._memory, 0, self.length, -1):
            self._llama.llama_memory_clear(self._memory, True)
            self.length = 0

    def logits(self, tokens: Sequence[int]) -> list[float]:
        """How strongly each of `tokens` would come next."""
        found = self._llama.llama_get_logits_ith(self._handle, -1)
        if not found:
            raise EncodeFailure("llama.cpp gave no output")
        return [float(found[token]) for token in tokens]


def _parameters(capacity: int, threads: int) -> Any:  # a ctypes structure
    parameters = load_bindings().llama_context_default_params()
    parameters.n_ctx = capacity
    parameters.n_batch = parameters.n_ubatch = min(_BATCH, capacity)
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.swa_full = True  # or what a sliding window has left cannot be gone back to
    return parameters
