"""The rows: every pair of wishes as it is and in frames, both twins in the same frame with the same names and numbers.

So neither the frame (a role to play, "ignore your rules", a text in base64) nor the surroundings give the label away.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

from training.corpus.requests.tables import Everyday, Twins, everyday, frames, twins
from training.corpus.results.disguise import DISGUISES
from training.corpus.results.tables import pools
from training.corpus.results.template import Scope

Row = dict[str, Any]
SOURCE = "corpus-requests"
VERSIONS = 4  # of each English pair, the bare one among them; of the others half
FRAMED = {"polite": 5, "setting": 5, "story": 2, "role": 2, "rules": 2, "claim": 2, "form": 2, "disguise": 1}
KEPT = {"polite": 3, "setting": 3, "bare": 6, "role": 1, "rules": 1}  # what an everyday request stands in
HIDDEN = ("base64", "hex", "rot13", "reversed", "leet", "typos", "typos", "case", "spaced", "zero_width", "split")


def rows(seed: int, versions: int = VERSIONS) -> Iterator[Row]:
    """The same seed gives the same rows in the same order. A harmful row is followed by its harmless twin."""
    seen: set[str] = set()
    for pair in twins():
        for version in range(versions if pair.language == "en" else (versions + 1) // 2):
            rng = random.Random(f"{seed}/{pair.name}/{version}")
            made = _pair(rng, pair, version)
            texts = {row["user_task"] for row in made}
            if len(texts) == len(made) and not texts & seen:
                seen |= texts
                yield from made
    for each in everyday():
        row = _alone(random.Random(f"{seed}/{each.name}"), each)
        if row["user_task"] not in seen:
            seen.add(row["user_task"])
            yield row


def _pair(rng: random.Random, pair: Twins, version: int) -> list[Row]:
    kind = _kind(rng, pair.language, FRAMED) if version else "bare"
    scope = Scope(rng, pools())
    around = _around(rng, pair.language, kind)
    ask = rng.choice(frames()[pair.language]["ask"]) if pair.clauses else "«do»"
    note = {
        "case": pair.name,
        "domain": pair.domain,
        "theme": pair.theme,
        "pair": f"{pair.name}-{version}",
        "language": pair.language,
        "frame": kind,
    }
    return [
        _row(_framed(scope, around, ask.replace("«do»", pair.harmful), rng), pair.category, note),
        _row(_framed(scope, around, ask.replace("«do»", pair.benign), rng), "benign", note),
    ]


def _alone(rng: random.Random, each: Everyday) -> Row:
    kind = _kind(rng, each.language, KEPT)
    note = {"case": each.name, "domain": each.domain, "theme": "everyday", "language": each.language, "frame": kind}
    around = _around(rng, each.language, kind)
    return _row(_framed(Scope(rng, pools()), around, each.text, rng), "benign", note)


def _kind(rng: random.Random, language: str, weights: Mapping[str, int]) -> str:
    """A language has frames of some kinds only."""
    had = [kind for kind in weights if kind in frames()[language] or kind in ("bare", "disguise")]
    return rng.choices(had, [weights[kind] for kind in had])[0]


def _around(rng: random.Random, language: str, kind: str) -> str:
    """A frame, or the name of a disguise."""
    match kind:
        case "bare":
            return "«wish»"
        case "disguise":
            return rng.choice(HIDDEN)
        case _:
            return rng.choice(frames()[language][kind])


def _framed(scope: Scope, around: str, wish: str, rng: random.Random) -> str:
    """The slots of frame and wish are filled from one scope, so that twins name the same people."""
    wish = scope.fill(wish)
    if around in DISGUISES:
        return DISGUISES[around](wish, rng)
    scope.values["wish"] = wish
    return scope.fill(around)


def _row(text: str, category: str, note: Mapping[str, str]) -> Row:
    label = "benign" if category == "benign" else "harmful"
    return {
        "id": f"{SOURCE}-{hashlib.blake2b(f'{label}/{text}'.encode(), digest_size=8).hexdigest()}",
        "source": SOURCE,
        "license": "Apache-2.0",
        "kind": "user_request",
        "user_task": text,
        "system": None,
        "tools": None,
        "history": None,
        "tool_call": None,
        "tool_result": None,
        "label": label,
        "category": category,
        "note": "; ".join(f"{key}={value}" for key, value in note.items()),
    }
