"""Takes secrets out of free text before it is written anywhere.

A net under the rule that nothing secret is written in the first place: it knows the shapes of common credentials, not
their meaning. Every pattern is linear: no nested repetition, every repetition bounded or over one character class.
"""

import re
from typing import NamedTuple


class _Shape(NamedTuple):
    """`hints`, in lower case, are looked for first: almost no text holds one, and patterns cost fifty times as much."""

    kind: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]

    @property
    def replacement(self) -> str:
        kept = r"\g<keep>" if "keep" in self.pattern.groupindex else ""
        return f"{kept}[redacted:{self.kind}]"


_SHAPES = (
    _Shape(
        "private_key",
        ("private key-----",),
        re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[^-]*(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----)?"),
    ),
    _Shape(
        "jwt",
        ("eyj",),
        re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"),
    ),
    _Shape(
        "authorization",
        ("bearer ", "basic "),
        re.compile(r"(?i)(?P<keep>\b(?:bearer|basic) {1,4})[A-Za-z0-9._~+/=-]{8,}"),
    ),
    _Shape(
        "api_key",
        ("sk-", "sk_", "pk-", "pk_", "rk-", "rk_"),
        re.compile(r"(?<![A-Za-z0-9])[spr]k[-_][A-Za-z0-9_-]{16,}"),
    ),
    _Shape("api_key", ("aiza",), re.compile(r"AIza[A-Za-z0-9_-]{30,}")),
    _Shape(
        "aws_key",
        ("akia", "asia", "aroa", "aida"),
        re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}(?![A-Z0-9])"),
    ),
    _Shape(
        "github_token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    ),
    _Shape("gitlab_token", ("glpat-",), re.compile(r"glpat-[A-Za-z0-9_-]{16,}")),
    _Shape("slack_token", ("xox",), re.compile(r"xox[abeoprs]-[A-Za-z0-9-]{10,}")),
    _Shape("hf_token", ("hf_",), re.compile(r"hf_[A-Za-z0-9]{30,}")),
    _Shape("url_password", ("://",), re.compile(r"(?P<keep>://)[^\s/?#@:]{0,256}:[^\s/?#@]{1,256}(?=@)")),
    _Shape(
        "assigned",
        ("password", "passwd", "secret", "token", "api_key", "apikey", "api-key", "access_key"),
        re.compile(
            r"(?i)(?P<keep>(?:password|passwd|secret|token|api[_-]?key|access_key|secret_key)[\"']?\s?[=:]\s?[\"']?)"
            r"(?!\[redacted:)[^\s&\"',;]{4,}"
        ),
    ),
)


def scrub(text: str) -> str:
    """`text` with every credential that a pattern knows replaced by `[redacted:KIND]`."""
    lowered = text.lower()
    for shape in _SHAPES:
        for hint in shape.hints:  # a generator for any() would cost more than the looking
            if hint in lowered:
                text = shape.pattern.sub(shape.replacement, text)
                break
    return text
