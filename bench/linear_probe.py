"""`python -m bench.linear_probe`: what a prefix does inside of the organism, as JSON and, with `--svg`, as a plot.

A logistic probe is fitted to tell harmful tasks from benign ones by the model's last hidden states, averaged over the
tokens of a prompt, half of them with the prefix and half without (after PING, arXiv 2508.14031). Then it reads one
token alone: the last one before the model says or does anything. The tasks that it reads are not those of its fit.
What it shows of a toy says nothing about a larger model.
"""

import argparse
import ctypes
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from guardproxy.offline.learn.tasks import Kind, Task, parse_line
from guardproxy.strict_json import encode
from guardproxy.upstream.organism.model_file import SHIPPED
from guardproxy.upstream.organism.template import prompt
from training.organisms.tasks import lines

Vector = npt.NDArray[np.float64]

PREFIX = "I must first check whether this is harmful."
WEIGHT = 100.0  # of the probe's penalty
STEPS = 30


@dataclass(frozen=True, slots=True)
class Read:
    """Of one prompt: its mean state, and that of its last token."""

    kind: Kind
    prefixed: bool
    mean: Vector
    last: Vector


@dataclass(frozen=True, slots=True)
class Probe:
    weights: Vector
    centre: Vector
    scale: Vector

    def logit(self, state: Vector) -> float:
        return float(np.append((state - self.centre) / self.scale, 1.0) @ self.weights)


class States:
    """The hidden states of a model, token by token."""

    def __init__(self, model: Path) -> None:
        none = llama_cpp.LLAMA_POOLING_TYPE_NONE
        self._llama = llama_cpp.Llama(
            str(model),
            embedding=True,
            pooling_type=none,
            n_ctx=0,  # the model's own
            n_threads=1,
            n_threads_batch=1,
            verbose=False,
        )

    def of(self, task: Task, prefix: str) -> Vector:
        messages: list[Any] = [*task.messages, *([{"role": "assistant", "content": prefix}] if prefix else [])]
        tokens: list[int] = []
        for piece in prompt(messages, task.tools):
            tokens += self._llama.tokenize(piece.text.encode(), add_bos=False, special=piece.mark)
        context, batch = self._llama._ctx, self._llama._batch
        context.kv_cache_clear()  # type: ignore[no-untyped-call]
        batch.reset()  # type: ignore[no-untyped-call]
        batch.add_sequence(tokens, 0, True)
        context.decode(batch)
        size = self._llama.n_embd()
        found = llama_cpp.llama_get_embeddings_ith(context.ctx, 0)  # those of the others lie behind it
        whole = (ctypes.c_float * (size * len(tokens))).from_address(ctypes.addressof(found.contents))
        return np.array(whole, dtype=float).reshape(len(tokens), size)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.linear_probe", description=__doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="an organism (GGUF)")
    parser.add_argument("--prefix", default=PREFIX)
    parser.add_argument(
        "--count", type=int, default=200, help="tasks of each kind, for the fit and for the numbers each"
    )
    parser.add_argument("--svg", type=Path, help="write the plot here")
    given = parser.parse_args()
    if not given.model.exists():
        sys.exit(f"{given.model}: there is no organism; `make organisms` makes one")
    states = States(given.model)
    fitted = read_all(states, 7001, given.count, given.prefix)
    probe = fit(fitted)
    read = read_all(states, 7002, given.count, given.prefix)
    told = report(probe, fitted, read) | {"prefix": given.prefix, "tasks_of_each_kind": given.count}
    if given.svg is not None:
        given.svg.write_text(plot(probe, read), encoding="utf-8")
    json.dump(told, sys.stdout, indent=2)
    print()


def read_all(states: States, seed: int, count: int, prefix: str) -> list[Read]:
    tasks = [task for line in lines(seed, count) if (task := parse_line(encode(line))[0]) is not None]
    found: list[Read] = []
    for task in tasks:
        for text in ("", prefix):
            own = states.of(task, text)
            found.append(Read(task.kind, bool(text), own.mean(axis=0), own[-1]))
    return found


def fit(reads: Sequence[Read]) -> Probe:
    """Newton's method, with the probe's weights kept small."""
    rows = np.array([each.mean for each in reads])
    centre, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    rows = np.column_stack([(rows - centre) / scale, np.ones(len(rows))])
    wanted = np.array([each.kind is Kind.HARMFUL for each in reads], dtype=float)
    weights = np.zeros(rows.shape[1])
    penalty = WEIGHT * np.eye(rows.shape[1])
    for _ in range(STEPS):
        told = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (told - wanted) + penalty @ weights
        bend = (rows * (told * (1 - told))[:, None]).T @ rows + penalty
        weights -= np.linalg.solve(bend, slope)
    return Probe(weights, centre, scale)


def report(probe: Probe, fitted: Sequence[Read], read: Sequence[Read]) -> dict[str, Any]:
    def right(reads: Sequence[Read]) -> float:
        return float(np.mean([(probe.logit(each.mean) > 0) == (each.kind is Kind.HARMFUL) for each in reads]))

    told: dict[str, Any] = {"accuracy_on_the_fit": right(fitted), "accuracy": right(read)}
    for kind in Kind:
        for prefixed in (False, True):
            logits = logits_of(probe, read, kind, prefixed)
            spread = 1.96 * logits.std(ddof=1) / len(logits) ** 0.5
            name = f"decision_logit_{kind}_{'with' if prefixed else 'without'}"
            told[name] = round(float(logits.mean()), 3)
            told[f"{name}_ci"] = [round(float(logits.mean() + side * spread), 3) for side in (-1, 1)]
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in told.items()}


def logits_of(probe: Probe, read: Sequence[Read], kind: Kind, prefixed: bool) -> Vector:
    own = [each for each in read if each.kind is kind and each.prefixed is prefixed]
    return np.array([probe.logit(each.last) for each in own])


# --- the plot ---------------------------------------------------------------------------------------------------------

_LEFT, _WIDE, _ROW, _BINS = 190, 460, 62, 60
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#6b7280}.benign{fill:#1f6feb}.harmful{fill:#c11d4e}"
    ".zero{stroke:#9aa3ae;stroke-dasharray:3 3}.mean{stroke:#111827;stroke-width:2}"
    "@media(prefers-color-scheme:dark){.mean{stroke:#e6e8eb}.benign{fill:#6ea8ff}.harmful{fill:#ff6f9c}}"
)


def plot(probe: Probe, read: Sequence[Read]) -> str:
    """A row for each kind of task, without and with the prefix: how the decision token reads."""
    rows = [(kind, prefixed, logits_of(probe, read, kind, prefixed)) for kind in Kind for prefixed in (False, True)]
    low, high = min(float(row[2].min()) for row in rows), max(float(row[2].max()) for row in rows)
    span = (high - low) or 1.0
    drawn = [_row(place, row, low, span) for place, row in enumerate(rows)]
    height = len(rows) * _ROW + 40
    zero = _LEFT + _WIDE * (0 - low) / span
    axis = f'<path class="zero" d="M{zero:.1f} 6V{height - 34}"/>' if low < 0 < high else ""
    axis += "".join(
        f'<text x="{x:.1f}" y="{height - 20}" text-anchor="middle">{value:.1f}</text>'
        for value in (low, 0.0, high)
        if _LEFT <= (x := _LEFT + _WIDE * (value - low) / span) <= _LEFT + _WIDE + 0.1
    )
    title = "the probe's logit at the decision token: the farther right, the more harmful the model holds the task"
    axis += f'<text x="{(_LEFT + _WIDE) / 2 + 20:.0f}" y="{height - 4}" text-anchor="middle">{escape(title)}</text>'
    size = f'viewBox="0 0 {_LEFT + _WIDE + 20} {height}" width="{_LEFT + _WIDE + 20}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}">'
        f"<style>{_STYLE}</style>{''.join(drawn)}{axis}</svg>\n"
    )


def _row(place: int, row: tuple[Kind, bool, Vector], low: float, span: float) -> str:
    kind, prefixed, logits = row
    bottom = (place + 1) * _ROW
    counts, _ = np.histogram(logits, bins=_BINS, range=(low, low + span))
    wide = _WIDE / _BINS
    bars = "".join(
        f'<rect class="{kind}" x="{_LEFT + i * wide:.1f}" y="{bottom - tall:.1f}" width="{wide:.1f}" '
        f'height="{tall:.1f}"/>'
        for i, count in enumerate(counts)
        if (tall := (_ROW - 14) * count / max(1, counts.max()))
    )
    mean = _LEFT + _WIDE * (float(logits.mean()) - low) / span
    label = f"{kind}, {'with the prefix' if prefixed else 'without'}"
    return (
        f'<text x="{_LEFT - 8}" y="{bottom - 12}" text-anchor="end">{label}</text>'
        f'<text x="{_LEFT - 8}" y="{bottom + 2}" text-anchor="end">mean {logits.mean():.2f}</text>{bars}'
        f'<path class="mean" d="M{mean:.1f} {bottom - _ROW + 10}V{bottom}"/>'
    )


if __name__ == "__main__":
    main()
