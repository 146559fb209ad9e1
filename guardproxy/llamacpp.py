"""llama.cpp in this process, without what its package imports beside it: the bindings, loading a file, and stopping.

Rules that llama.cpp does not check for us: a context is used by one thread at a time (two at once is a double free),
a batch never exceeds what its context was made for (more is an assertion that ends the process), contexts are freed
before their model, and nothing forks once a model ran.
"""

import ctypes
from collections import deque
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, Final

from guardproxy.submodules import import_alone

ABORTED: Final = 2  # what encoding and decoding return once they were stopped
_LOG_ERROR: Final = 4


class LoadFailure(Exception):
    """llama.cpp would not have this file; the message is its reason."""


class Aborted(Exception):
    """What a context was doing was stopped. The context can be used again."""


class EncodeFailure(Exception):
    """llama.cpp returned an error for what it was given to read."""


class Context:
    """Room of a model to run tokens in, which any thread may stop. For one thread at a time."""

    def __init__(self, model: Any, parameters: Any) -> None:  # handles and structures of ctypes
        """`model` is a handle. Raises LoadFailure."""
        self._llama = load_bindings()
        self._abort_flag = ctypes.create_string_buffer(2)
        parameters.n_seq_max = 1
        parameters.no_perf = True
        parameters.abort_callback = nonzero_at(self._llama)
        parameters.abort_callback_data = ctypes.cast(self._abort_flag, ctypes.c_void_p)
        handle = self._llama.llama_init_from_model(model, parameters)
        if not handle:
            raise LoadFailure("llama.cpp could not make a context for it")
        self._handle = handle

    def abort(self) -> None:
        """Makes what is run now, and any later one until `rearm`, stop within one graph node. Any thread may."""
        self._abort_flag[0] = b"\x01"

    def rearm(self) -> None:
        self._abort_flag[0] = b"\x00"

    def close(self) -> None:
        if self._handle is not None:
            self._llama.llama_free(self._handle)
            self._handle = None


def load_model(path: Path) -> Any:
    """A handle for `llama_model_free`; on the CPU. Raises LoadFailure."""
    llama = load_bindings()
    _load_errors.clear()
    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = 0
    handle = llama.llama_model_load_from_file(str(path).encode(), parameters)
    if not handle:
        raise LoadFailure(" ".join(_load_errors) or "llama.cpp could not load it")
    return handle


def metadata(model: Any, key: str) -> str | None:
    """What the file says under `key`, the first 4,095 bytes of it."""
    llama = load_bindings()
    buffer = ctypes.create_string_buffer(4096)
    length = llama.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return None if length < 0 else buffer.value.decode("utf-8", "replace")


def nonzero_at(llama: ModuleType) -> Any:  # a ctypes function pointer
    """A C function that says whether the byte it is given the address of is not zero: `strlen`, on a two-byte buffer.

    llama.cpp asks it before every node of the graph, some 200 times an encode. A Python function in its place would
    have to take the GIL each time, and a busy event loop gives it up only every 5 ms.
    """
    return ctypes.cast(ctypes.CDLL(None).strlen, llama.ggml_abort_callback)


_load_errors: deque[str] = deque(maxlen=4)
_loading = Lock()
_loaded: ModuleType | None = None
_log_callback: object = None  # kept, or ctypes would free what llama.cpp still calls


def load_bindings() -> ModuleType:
    global _loaded
    with _loading:
        if _loaded is None:
            _loaded = _import_bindings()
            _silence(_loaded)
            _loaded.llama_backend_init()
        return _loaded


def _import_bindings() -> ModuleType:
    """Without what the package imports beside them (numpy, jinja2; 400 ms, 20 MB)."""
    try:
        return import_alone("llama_cpp", "llama_cpp")
    except ModuleNotFoundError as error:
        raise LoadFailure("the package llama-cpp-python is not installed") from error


def _silence(llama: ModuleType) -> None:
    """Nothing of llama.cpp's chatter reaches stderr; its errors are kept for the message of a failed load."""
    global _log_callback

    def keep_errors(level: int, text: bytes, _: object) -> None:
        if level == _LOG_ERROR:
            _load_errors.append(text.decode("utf-8", "replace").strip())

    _log_callback = llama.llama_log_callback(keep_errors)
    llama.llama_log_set(_log_callback, None)
