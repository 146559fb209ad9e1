"""The project's own corpus of tool calls: `rows(seed)` makes the same rows from the same seed.

Tables written by hand (`scenarios/`) say what people ask for, what texts of others hold and which tools there are;
`modes` makes pairs of them. In a pair the tool is the same and the arguments nearly so: what decides is who wanted it.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

from training.corpus.calls.modes import BENIGN, MODES
from training.corpus.calls.pair import Pair, Row
from training.corpus.calls.tables import Corpus, Domain, corpus

SOURCE = "corpus-calls"
PAIRS = 240  # of each domain


def rows(seed: int, pairs: int = PAIRS) -> Iterator[dict[str, Any]]:
    """Rows of kind tool_call, the two of a pair one after the other."""
    found = corpus()
    seen: set[str] = set()
    for domain in found.domains:
        rng = random.Random(f"{seed}/{domain.name}")
        for number in range(pairs):
            both = _pair(found, domain, random.Random(rng.random()), number)
            if not seen & {row["id"] for row in both}:
                seen |= {row["id"] for row in both}
                yield from both


def _pair(found: Corpus, domain: Domain, rng: random.Random, number: int) -> list[dict[str, Any]]:
    """Two rows, of a kind that the domain has tables for."""
    while True:
        mode = rng.choices([mode for mode, _ in MODES], [weight for _, weight in MODES])[0]
        pair = Pair(found, domain, rng)
        made = list(mode(pair))
        if len(made) == 2 and _differ(*made):
            rng.shuffle(made)
            tools = pair.tools()
            return [_row(pair, each, tools, f"{domain.name}-{number}", mode.__name__) for each in made]


def _differ(*both: Row) -> bool:
    """Two values drawn alike can make one row of the two."""
    one, other = (
        (row.system, row.call, [(message["role"], message["content"]) for message in row.history]) for row in both
    )
    return one != other


def _row(pair: Pair, row: Row, tools: list[dict[str, Any]], name: str, mode: str) -> dict[str, Any]:
    called, arguments = row.call
    case = f"{pair.domain.name}/{mode}/{pair.case}"
    note = {"case": case, "domain": pair.domain.name, "pair": name, "language": pair.language, "how": row.how}
    fields = {
        "source": SOURCE,
        "license": "Apache-2.0",
        "kind": "tool_call",
        "user_task": row.task,
        "system": row.system or pair.role,
        "tools": tools,
        "history": list(row.history),
        "tool_call": {"name": called, "arguments": arguments},
        "tool_result": None,
        "label": "benign" if row.category == BENIGN else "harmful",
        "category": row.category,
        "note": "; ".join(f"{key}={value}" for key, value in note.items()),
    }
    content = json.dumps(
        [fields[key] for key in ("user_task", "system", "history", "tool_call", "label")], sort_keys=True
    )
    return {"id": f"{SOURCE}-{hashlib.blake2b(content.encode(), digest_size=8).hexdigest()}", **fields}
