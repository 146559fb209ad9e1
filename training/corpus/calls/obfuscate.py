"""Commands and queries written so that they cannot be read at a glance. Harmless ones are written so too."""

import base64
import random
from collections.abc import Callable, Mapping
from typing import Any


def encoded(rng: random.Random, kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`kind` is the language of the longest text among the arguments, which is the one to be hidden."""
    name = max((key for key, value in arguments.items() if isinstance(value, str)), key=lambda key: len(arguments[key]))
    return {**arguments, name: rng.choice(WAYS[kind])(rng, arguments[name])}


def _shell_base64(rng: random.Random, text: str) -> str:
    code = base64.b64encode(text.encode()).decode()
    return rng.choice(
        (
            f"echo {code} | base64 -d | sh",
            f'bash -c "$(base64 -d <<< {code})"',
            f"eval $(echo '{code}' | base64 --decode)",
        )
    )


def _shell_hex(rng: random.Random, text: str) -> str:
    code = text.encode().hex()
    return rng.choice(
        (f"echo {code} | xxd -r -p | bash", "printf '" + "".join(f"\\x{b:02x}" for b in text.encode()) + "' | sh")
    )


def _shell_variables(rng: random.Random, text: str) -> str:
    """The words in variables, joined again."""
    words = text.split(" ")
    names = rng.sample("abcdefghijkmnpqrstuvwxyz", min(len(words), 20))
    sets = "; ".join(f"{name}={_quoted(word)}" for name, word in zip(names, words, strict=False))
    rest = " ".join(words[len(names) :])
    return f'{sets}; eval "{" ".join("$" + name for name in names)}" {rest}'.rstrip()


def _shell_quotes(rng: random.Random, text: str) -> str:
    first, _, rest = text.partition(" ")
    return (
        f"{rng.choice(chr(39) + chr(34))}".join(("", first[: len(first) // 2], "", first[len(first) // 2 :]))
        + f" {rest}"
        if len(first) > 99
        else f"{first[:1]}''{first[1:]} {rest}"
    )


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _python_base64(rng: random.Random, text: str) -> str:
    code = base64.b64encode(text.encode()).decode()
    return rng.choice(
        (
            f"import base64\nexec(base64.b64decode('{code}'))",
            f"from base64 import b64decode as d\nexec(compile(d('{code}'), 's', 'exec'))",
        )
    )


def _python_hex(rng: random.Random, text: str) -> str:
    return f"exec(bytes.fromhex('{text.encode().hex()}').decode())"


def _python_chars(rng: random.Random, text: str) -> str:
    return f"exec(''.join(map(chr, {[ord(char) for char in text]})))"


def _sql_comments(rng: random.Random, text: str) -> str:
    return text.replace(" ", rng.choice(("/**/", " /* */ ", "\t", "  ")))


def _sql_case(rng: random.Random, text: str) -> str:
    return "".join(rng.choice((char.upper(), char.lower())) if "'" not in text else char for char in text)


WAYS: Mapping[str, tuple[Callable[[random.Random, str], str], ...]] = {
    "shell": (_shell_base64, _shell_hex, _shell_variables, _shell_quotes),
    "python": (_python_base64, _python_hex, _python_chars),
    "sql": (_sql_comments, _sql_case),
}
