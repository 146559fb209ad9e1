"""`python -m training.corpus.calls [SEED]` writes the rows as JSON lines."""

import json
import sys

from training.corpus.calls import rows

for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 0):
    print(json.dumps(row, ensure_ascii=False))
