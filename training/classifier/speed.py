"""What the shipped model costs on this machine, as JSON: `python -m training.classifier.speed`, on an idle one."""

import asyncio
import json
import time
from pathlib import Path

from guardproxy.classifier.engine import Engine, load_engine
from guardproxy.classifier.llama import Model
from guardproxy.classifier.model_file import SHIPPED, find_model
from guardproxy.classifier.serialise import Reading

ROUNDS = 30


def memory_mb() -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


async def encode_ms(engine: Engine, tokens: int) -> float:
    """The least time of a worker for a text of exactly so many tokens, [CLS] and [SEP] included.

    The least, because whatever else the machine does can only add to it.
    """
    text = " ".join(["the"] * (tokens - 2))
    return 1e3 * min([(await engine.score(Reading("", text), 60)).seconds for _ in range(ROUNDS)])


async def overhead_ms(engine: Engine) -> float:
    """What the way to the worker and back adds."""
    spent = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        scores = await engine.score(Reading("", "the"), 60)
        spent.append(time.perf_counter() - began - scores.seconds)
    return 1e3 * min(spent)


def main() -> None:
    before = memory_mb()
    began = time.perf_counter()
    find_model(None)
    checked = time.perf_counter()
    Model(SHIPPED).close()
    first = time.perf_counter()
    Model(SHIPPED).close()
    again = time.perf_counter()
    engine = load_engine(None, threads=2, queue=64)
    ready = time.perf_counter()
    report: dict[str, object] = {
        "check_sha256_ms": 1e3 * (checked - began),
        "import_and_load_ms": 1e3 * (first - checked),
        "load_ms": 1e3 * (again - first),
        "load_engine_ms": 1e3 * (ready - again),
        "rss_added_loaded_mb": memory_mb() - before,
        "encode_ms": {n: round(asyncio.run(encode_ms(engine, n)), 1) for n in (32, 64, 128)},
        "overhead_ms": asyncio.run(overhead_ms(engine)),
        "all_windows_ms": 1e3 * asyncio.run(engine.score(Reading("", "the " * 5000), 60)).seconds,
    }
    asyncio.run(both_contexts(engine))
    report["rss_added_after_use_mb"] = memory_mb() - before
    engine.close()
    print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in report.items()}, indent=2))


async def both_contexts(engine: Engine) -> None:
    await asyncio.gather(*(engine.score(Reading("", "the " * 5000 + str(i)), 60) for i in range(4)))


if __name__ == "__main__":
    main()
