"""Which sources are relatives: a model trained on one of a family has seen too much of the others."""

import re
from typing import Final

from guardproxy.offline.evaluate.rows import Row

_SAID = re.compile(r"(?:^|;)\s*family=([^;]*[^;\s])")
_FAMILIES: Final = (
    ("agent security bench", ("asb", "assebench-asb")),
    ("emulated toolkits", ("injecagent", "xinjecagent", "toolemu", "r-judge", "r-judge-injection", "privacylens")),
    ("corpus", ("corpus-calls", "corpus-results")),
)
_FAMILY_OF: Final = {source: family for family, sources in _FAMILIES for source in sources}


def family_of(row: Row) -> str:
    """What the note says (`family=NAME`), else that of the known benchmarks, else the source's own name."""
    said = _SAID.search(row.note)
    return said[1] if said else _FAMILY_OF.get(row.source, row.source)
