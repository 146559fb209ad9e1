"""What the quantised encoder makes of a text, computed by llama.cpp as the proxy runs it, window by window."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guardproxy.classifier.llama import Context, Model, Pooling
from guardproxy.classifier.windows import MAX_WINDOWS, OVERLAP, windows

Array = npt.NDArray[np.float32]


def features(model_path: Path, texts: Sequence[str], capacity: int, pooling: Pooling, threads: int = 2) -> list[Array]:
    """One matrix a text: windows x outputs (the pooled vector, or the head's logits for RANK)."""
    model = Model(model_path)
    contexts = [Context(model, capacity, pooling) for _ in range(threads)]

    def share(thread: int) -> list[Array]:
        return [_encode(model, contexts[thread], text) for text in texts[thread::threads]]

    with ThreadPoolExecutor(threads) as workers:
        shares = list(workers.map(share, range(threads)))
    for context in contexts:
        context.close()
    model.close()
    return [shares[i % threads][i // threads] for i in range(len(texts))]


def _encode(model: Model, context: Context, text: str) -> Array:
    parts, _ = windows(model.tokenize(text), context.capacity - 2)
    return np.array([context.encode([model.begin, *part, model.end]) for part in parts], np.float32)


def cached_features(folder: Path, model_path: Path, texts: Sequence[str], capacity: int) -> list[Array]:
    """As `features` with mean pooling; computed once for each encoder, way of windowing and list of texts.

    The cache holds no text.
    """
    digest = hashlib.blake2b(model_path.read_bytes(), digest_size=8)
    digest.update(f"{capacity} {MAX_WINDOWS} {OVERLAP}".encode())
    for text in texts:
        digest.update(hashlib.blake2b(text.encode(), digest_size=16).digest())
    path = folder / f"features-{digest.hexdigest()}.npz"
    if not path.exists():
        computed = features(model_path, texts, capacity, Pooling.MEAN)
        np.savez(path, rows=np.vstack(computed), counts=[len(matrix) for matrix in computed])
    stored = np.load(path)
    return np.split(stored["rows"], np.cumsum(stored["counts"])[:-1])
