"""Regular expressions that run in linear time, whatever the text: Rust's engine, as pydantic-core carries it.

Python's `re` backtracks, so one careless pattern in a pack and one hostile argument would stop the proxy.
"""

from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema


class Pattern:
    """A compiled pattern; `search` says whether it occurs anywhere in a text. Compiled on first use."""

    __slots__ = ("_validator", "source")

    def __init__(self, source: str) -> None:
        """Raises ValueError, with the engine's own explanation."""
        self.source = source
        try:
            self._validator = SchemaValidator(
                core_schema.str_schema(pattern=source, regex_engine="rust-regex", strict=True)
            )
        except SchemaError as error:
            raise ValueError(str(error).partition("SchemaError:")[2].strip() or "not a valid pattern") from None

    def search(self, text: str) -> bool:
        return self._validator.isinstance_python(text)


@lru_cache(maxsize=1024)
def pattern(source: str) -> Pattern:
    """The compiled pattern. Raises ValueError."""
    return Pattern(source)
