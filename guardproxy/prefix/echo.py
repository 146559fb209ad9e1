"""Whether an answer repeats the prefix, and taking it out or putting it in, however the text is cut. Sans-io.

Some servers return a prefilled text as the beginning of the answer and some do not; one and the same server may do the
one when it streams and the other when it does not (llama.cpp). So nobody is asked: the text shows it.

What an echo shows: the server took the text for the beginning of this answer. What it does not show: that the model
was conditioned on it, since a server can prepend a text that it never rendered.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class _Choice:
    pending: str = ""
    echoed: bool | None = None
    begun: bool = False  # something of what follows the prefix was shown


class EchoFilter:
    """For one answer of any number of choices. The client's text holds the prefix once (`keep`) or not at all; `trim`
    takes out the blanks that part it from what follows, too.

    A text that is too short to tell (the model stopped within what may be an echo) counts as the model's own. With
    `keep` a choice that has no text at all stays without.
    """

    def __init__(self, prefix: str, *, keep: bool, trim: bool = False) -> None:
        self._prefix = prefix
        self._keep = keep
        self._trim = trim and not keep
        self._choices: dict[int, _Choice] = {}

    def settled(self, choices: int) -> bool:
        """Whether of so many choices all are decided, so that nothing is left to do."""
        done = (state.echoed is not None and (state.begun or not self._trim) for state in self._choices.values())
        return len(self._choices) >= choices and all(done)

    @property
    def echoed(self) -> bool | None:
        """True if any choice began with the prefix, None while none is decided."""
        known = [choice.echoed for choice in self._choices.values() if choice.echoed is not None]
        return any(known) if known else None

    def receive(self, choice: int, text: str) -> str | None:
        """The text to show for all that came since the last answer; None says that more must come to tell."""
        state = self._choices.setdefault(choice, _Choice())
        if state.echoed is not None:
            return self._shown(state, text)
        if not (state.pending or text):
            return text
        state.pending += text
        candidate = state.pending.lstrip()
        if candidate.startswith(self._prefix):
            return self._decided(state, echoed=True)
        if self._prefix.startswith(candidate):
            return None
        return self._decided(state, echoed=False)

    def finish(self, choice: int) -> str:
        """What is left of a choice that has ended; empty when nothing was held."""
        state = self._choices.get(choice)
        if state is None or state.echoed is not None or not state.pending:
            return ""
        return self._decided(state, echoed=False)

    def _decided(self, state: _Choice, *, echoed: bool) -> str:
        text, state.pending, state.echoed = state.pending, "", echoed
        if self._keep:
            return text if echoed else self._prefix + text
        return self._shown(state, text.lstrip()[len(self._prefix) :] if echoed else text)

    def _shown(self, state: _Choice, text: str) -> str:
        if state.begun or not self._trim:
            return text
        text = text.lstrip()
        state.begun = bool(text)
        return text
