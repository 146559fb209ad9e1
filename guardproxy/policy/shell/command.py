"""What a script turns out to be: the simple commands that could run, and code in other languages."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Redirect:
    """`operator` is `>`, `>>`, `<`, `>|`, `&>` or `<>`; `target` a path as the shell would see it."""

    operator: str
    target: str

    @property
    def writes(self) -> bool:
        return ">" in self.operator


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command that could run.

    `program` is the last part of its path, lower-case (it may hold wildcards: `r?`). `words` are its arguments, every
    value that a variable or a brace could give among them. `inputs` are the commands whose output it is fed, by a pipe
    or a substitution. `directories` are the places it could run in. `dynamic`: what runs here cannot be read from the
    text.
    """

    program: str
    words: tuple[str, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    inputs: tuple["Command", ...] = ()
    directories: tuple[str, ...] = ()
    dynamic: bool = False
    stdin: str = ""  # what it reads, where the script itself says so

    @property
    def text(self) -> str:
        return " ".join((self.program, *self.words))

    @property
    def flags(self) -> frozenset[str]:
        """Options: long names without dashes or value, and every letter of merged short ones."""
        found: set[str] = set()
        for word in self.words:
            if word == "--":
                break
            if word.startswith("--"):
                found.add(word[2:].partition("=")[0])
            elif word.startswith("-") and len(word) > 1:
                found.update(word[1:].partition("=")[0])
                found.add(word[1:].partition("=")[0])
        return frozenset(found)

    @property
    def positionals(self) -> tuple[str, ...]:
        """Words that are no options; after `--` all of them."""
        if "--" in self.words:
            cut = self.words.index("--")
            return (*(w for w in self.words[:cut] if not w.startswith("-")), *self.words[cut + 1 :])
        return tuple(w for w in self.words if not w.startswith("-") or w == "-")


@dataclass(frozen=True, slots=True)
class Code:
    """A program text in another language, handed to its interpreter."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """`broken`: the text is no valid shell. `truncated`: a bound was hit, so something in it was not read."""

    commands: tuple[Command, ...] = ()
    broken: bool = False
    truncated: bool = False
