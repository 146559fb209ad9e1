"""What the classifier learns from: the project's own corpora, and rows of third-party benchmarks if there are any.

Benchmark rows are read where they lie and never stored here. Both become what the proxy sees, by its own reading.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from guardproxy.model import Request, ToolCall
from guardproxy.offline.evaluate.conversation import request_of, turn_of
from guardproxy.offline.evaluate.rows import Row, parse
from guardproxy.provenance import Conversation, Provenance, trace
from guardproxy.surfaces.surface import RequestRules
from training.corpus import calls, requests, results

CORPUS_SEED = 1
_DOMAIN = re.compile(r"domain=([\w-]+)")


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark that may be trained on. Sources of one `family` share tools or attacker instructions, so they are
    left out together: one of them in training would make the others look easier than they are."""

    name: str
    repository: str
    commit: str
    licence: str
    family: str


SOURCES: tuple[Source, ...] = (
    Source("api-bank", "AlibabaResearch/DAMO-ConvAI", "483554eae102", "Apache-2.0", "api-bank"),
    Source("asb", "Zhang-Henry/AIOS_agent", "b38a3d201c13", "MIT", "asb"),
    Source("bfcl", "ShishirPatil/gorilla", "6ea57973c7a6", "Apache-2.0", "bfcl"),
    Source("bipia", "microsoft/BIPIA", "1a2a91da6bb1", "MIT", "bipia"),
    Source("cyberseceval", "meta-llama/PurpleLlama", "4be64c3a2444", "MIT", "cyberseceval"),
    Source("harmbench", "busycalibrating/AdversariaLLM", "f970939273ea", "MIT", "jailbreaks"),
    Source("injecagent", "enkryptai/xInjectAgent", "21af27703ad4", "MIT", "toolkit"),
    Source("intercode", "princeton-nlp/intercode", "c3e46d827cfc", "MIT", "intercode"),
    Source("privacylens", "SALT-NLP/PrivacyLens", "9c2ee07b080d", "MIT", "toolkit"),
    Source("redcode", "AI-secure/RedCode", "c84b6db88fd8", "CC-BY-4.0", "redcode"),
    Source("strongreject", "busycalibrating/AdversariaLLM", "f970939273ea", "MIT", "jailbreaks"),
    Source("tau-bench", "sierra-research/tau-bench", "59a200c6d575", "MIT", "tau-bench"),
    Source("toolalpaca", "tangqiaoyu/ToolAlpaca", "189069998d64", "Apache-2.0", "toolalpaca"),
    Source("toolemu", "bplaut/safety-persists-llm-agents", "cde0b8f0b898", "MIT", "toolkit"),
    Source("xinjecagent", "enkryptai/xInjectAgent", "21af27703ad4", "MIT", "toolkit"),
)


@dataclass(frozen=True)
class Sample:
    """`family` is what is left out together; of the own corpora a domain is one."""

    row: Row
    source: str
    family: str
    category: str = ""  # of harm, where the own corpus names it

    @property
    def own(self) -> bool:
        return self.family.startswith("own ")

    @property
    def harmful(self) -> bool:
        return self.row.harmful

    @cached_property
    def request(self) -> Request:
        return request_of(self.row, RequestRules())

    @cached_property
    def call(self) -> ToolCall:
        return turn_of(self.row).calls[0]

    @cached_property
    def provenance(self) -> Provenance:
        return trace(self.call, Conversation.of(self.request))

    @cached_property
    def result_text(self) -> str:
        """Of the result that is judged."""
        return self.request.results[-1].text


def own_samples(kind: str) -> Iterator[Sample]:
    corpora = {"tool_call": calls, "tool_result": results, "user_request": requests}
    made: Iterator[dict[str, Any]] = corpora[kind].rows(CORPUS_SEED)
    for each in made:
        domain = _DOMAIN.search(each["note"])
        yield Sample(parse(each), each["source"], f"own {domain[1] if domain else ''}", each["category"])


def benchmark_samples(folder: Path, kind: str) -> Iterator[Sample]:
    """Read-only steps of an attack look innocent by themselves, and are: they are left out."""
    for source in SOURCES:
        path = folder / f"{source.name}.jsonl"
        if not path.exists():
            continue
        with path.open(encoding="utf-8") as lines:
            for row in map(parse, map(json.loads, lines)):
                if row.kind == kind and not row.read_step:
                    yield Sample(row, source.name, source.family)


def balanced(samples: Sequence[Sample]) -> list[float]:
    """Weights: both labels count alike, and the sizes of sources by their square root only, or the largest source
    would be all that is learned."""
    sizes: dict[tuple[str, bool], int] = {}
    for sample in samples:
        sizes[sample.source, sample.harmful] = sizes.get((sample.source, sample.harmful), 0) + 1
    weights = [sizes[s.source, s.harmful] ** -0.5 for s in samples]
    sums = {
        label: sum(w for s, w in zip(samples, weights, strict=True) if s.harmful is label) for label in (True, False)
    }
    return [w / sums[s.harmful] * len(samples) / 2 for s, w in zip(samples, weights, strict=True)]
