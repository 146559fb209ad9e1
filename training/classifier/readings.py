"""What the network is taught: a sample's reading as the engine makes it, in windows of tokens as the engine cuts it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guardproxy.classifier.engine import WINDOW_TOKENS
from guardproxy.classifier.first_stage import body_of
from guardproxy.classifier.ngrams import NgramModel
from guardproxy.classifier.serialise import Reading, read_request, read_result
from guardproxy.classifier.units import units_of
from guardproxy.classifier.windows import led_windows
from guardproxy.offline.evaluate.rows import Kind
from training.classifier.samples import Sample

Tokenize = Callable[[str], Sequence[int]]

LABELS = (
    "benign",
    "injected_instruction",  # a text of others that gives the agent an order
    "tool_misuse",
    "privilege_abuse",
    "code_execution",
    "data_exfiltration",
    "destruction",
    "fraud",
    "privacy",
    "harmful_content",
)
"""The network's outputs: those after the second are the categories of training/corpus/TAXONOMY.md."""

_SPANS = re.compile(r"span=([\d,-]+)")
_SHARE = 0.7  # of the most injected tokens that any window has, for a window to count as injected
_SPECIAL = 2  # [CLS] and [SEP]


@dataclass(frozen=True, slots=True)
class Bag:
    """`windows` of token ids without special tokens; `label` is an output's number, 0 for benign."""

    windows: tuple[tuple[int, ...], ...]
    label: int


def reading_of(sample: Sample, results: NgramModel) -> Reading:
    """Of a call the request that it stands in. `results` chooses what is read of a result that is too long."""
    match sample.row.kind:
        case Kind.TOOL_RESULT:
            units = units_of(sample.result_text).texts
            return read_result(body_of(units, [results.margin(unit) for unit in units]))
        case Kind.USER_REQUEST | Kind.TOOL_CALL:
            return read_request(sample.request) or Reading("request:", "")


def windows_of(reading: Reading, tokenize: Tokenize) -> tuple[tuple[int, ...], ...]:
    parts, _ = led_windows(tokenize(reading.lead), tokenize(reading.body), WINDOW_TOKENS - _SPECIAL)
    return tuple(map(tuple, parts))


def bag_of(sample: Sample, results: NgramModel, tokenize: Tokenize) -> Bag:
    windows = windows_of(reading_of(sample, results), tokenize)
    if not sample.harmful:
        return Bag(windows, 0)
    if sample.row.kind is Kind.TOOL_RESULT:
        return Bag(_injected(sample, windows, tokenize), LABELS.index("injected_instruction"))
    return Bag(windows, LABELS.index(sample.category))


def _injected(sample: Sample, windows: tuple[tuple[int, ...], ...], tokenize: Tokenize) -> tuple[tuple[int, ...], ...]:
    """Of a harmful result the windows that hold the injected text; all where the corpus does not say where it is."""
    spans = _SPANS.search(sample.row.note)
    if spans is None or sample.row.result is None:
        return windows
    text = sample.row.result
    wanted = [set(tokenize(text[int(a) : int(b)])) for a, b in (span.split("-") for span in spans[1].split(","))]
    shared = [sum(len(span.intersection(window)) for span in wanted) for window in windows]
    return tuple(w for w, n in zip(windows, shared, strict=True) if n >= _SHARE * max(shared))
