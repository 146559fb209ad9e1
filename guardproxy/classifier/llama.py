"""A thin typed skin over the low-level functions of llama-cpp-python: one model, several contexts.

Rules that llama.cpp does not check for us: a context is used by one thread at a time (two at once is a double free),
an encode never exceeds `n_ubatch` tokens (more is an assertion that ends the process), contexts are freed before
their model.
"""

import ctypes
import importlib
import importlib.util
import sys
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, Final

_LOG_ERROR: Final = 4
_ABORTED: Final = 2


class LoadFailure(Exception):
    """llama.cpp would not have this file; the message is its reason."""


class Aborted(Exception):
    """An encode was stopped by `Context.abort`. The context can be used again."""


class EncodeFailure(Exception):
    """llama.cpp returned an error for an encode."""


class Pooling(IntEnum):
    MEAN = 1
    RANK = 4  # the classification head


class Model:
    """The weights, shared by every context. Close it after the last of them."""

    def __init__(self, path: Path) -> None:
        self._llama = _load_bindings()
        _load_errors.clear()
        parameters = self._llama.llama_model_default_params()
        parameters.n_gpu_layers = 0
        handle = self._llama.llama_model_load_from_file(str(path).encode(), parameters)
        if not handle:
            raise LoadFailure(" ".join(_load_errors) or "llama.cpp could not load it")
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
        buffer = ctypes.create_string_buffer(4096)
        length = self._llama.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

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
        self._llama = _load_bindings()
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
        parameters.abort_callback = _nonzero_at(self._llama)
        parameters.abort_callback_data = ctypes.cast(self._abort_flag, ctypes.c_void_p)
        return parameters

    def encode(self, tokens: Sequence[int]) -> list[float]:
        """The outputs for one sequence, its first and last special tokens included. Raises Aborted, EncodeFailure."""
        if not 0 < len(tokens) <= self.capacity:
            raise EncodeFailure(f"{len(tokens)} tokens in a context of {self.capacity}")
        array = (self._llama.llama_token * len(tokens))(*tokens)
        status = self._llama.llama_encode(self._handle, self._llama.llama_batch_get_one(array, len(tokens)))
        if status == _ABORTED:
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


def _nonzero_at(llama: ModuleType) -> Any:  # a ctypes function pointer
    """A C function that says whether the byte it is given the address of is not zero: `strlen`, on a two-byte buffer.

    llama.cpp asks it before every node of the graph, some 200 times an encode. A Python function in its place would
    have to take the GIL each time, and a busy event loop gives it up only every 5 ms.
    """
    return ctypes.cast(ctypes.CDLL(None).strlen, llama.ggml_abort_callback)


_load_errors: deque[str] = deque(maxlen=4)
_loading = Lock()
_loaded: ModuleType | None = None
_log_callback: object = None  # kept, or ctypes would free what llama.cpp still calls


def _load_bindings() -> ModuleType:
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = _import_bindings()
            _silence(_loaded)
            _loaded.llama_backend_init()
        return _loaded


def _import_bindings() -> ModuleType:
    """`llama_cpp.llama_cpp` without what its package's `__init__` imports beside it (numpy, jinja2; 400 ms, 20 MB).

    While the submodule is imported an empty package stands in for the real one, and is taken away again, so that a
    later `import llama_cpp` works as ever and shares this submodule.
    """
    name = "llama_cpp"
    if name in sys.modules:
        return importlib.import_module("llama_cpp.llama_cpp")
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise LoadFailure("the package llama-cpp-python is not installed")
    stand_in = ModuleType(name)
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = stand_in
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    finally:
        del sys.modules[name]


def _silence(llama: ModuleType) -> None:
    """Nothing of llama.cpp's chatter reaches stderr; its errors are kept for the message of a failed load."""
    global _log_callback

    def keep_errors(level: int, text: bytes, _: object) -> None:
        if level == _LOG_ERROR:
            _load_errors.append(text.decode("utf-8", "replace").strip())

    _log_callback = llama.llama_log_callback(keep_errors)
    llama.llama_log_set(_log_callback, None)
