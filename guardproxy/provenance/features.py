"""A call's provenance in numbers, for a model. Each is between 0 and 1, or a small count's logarithm."""

import re
from collections.abc import Sequence
from functools import lru_cache
from heapq import nlargest
from itertools import accumulate, chain
from math import log1p
from typing import TYPE_CHECKING, Final, NamedTuple

from guardproxy.provenance.claims import Origin
from guardproxy.provenance.conversation import Conversation, Pool
from guardproxy.provenance.texts import Sentence
from guardproxy.provenance.values import Value
from guardproxy.provenance.words import MAX_STEMMED, name_words, stem, stems, words

if TYPE_CHECKING:
    from guardproxy.provenance.trace import ArgumentOrigin, Provenance

# What only tells one kind of traffic from another (how long a conversation is, how many arguments a tool takes) is left
# out on purpose: a model that is given it learns where its examples came from.
FEATURES: Final[tuple[str, ...]] = (
    "words_user", "words_result", "words_nowhere",  # shares of the words of all arguments; the rest is the system's
    "values_user", "values_result",  # shares of the values that are neither short nor common
    "hard_user", "hard_result", "hard_result_count", "hard_model",  # shares of the identifiers, and a count
    "worst_result_share",  # the largest share of one value's words that only a result has
    "user_covers", "user_sentence_covers",  # how much of the call's words the user's text has, and its best sentence
    "result_covers", "result_precision", "result_cue",  # the result's sentence that resembles the call most
    "order_covers", "order_precision", "order_cue",  # the order in a result that resembles the call or its tool most
    "order_covers_name", "order_covers_description",
    "strongest_cue",  # of any sentence of a result
    "result_beats_user", "order_beats_user",
    "pull_user", "pull_order", "pull",  # by whatever of the call resembles the text most, and their difference
    "name_user", "name_result",
    "description_user", "description_result", "description_system",
    "tool_rank_user", "tool_rank_order", "tool_margin_user", "tool_margin_order",  # among the declared tools
    "tool_seen", "call_seen", "call_seen_blind",
    "acts", "looks", "sends", "pays", "destroys", "grants", "runs",  # by the words of the tool's name
    "value_order", "value_order_share",  # how much the sentence that a result's value stands in sounds like an order
)  # fmt: skip

_PLAIN_TOOL_WORDS: Final = frozenset(
    stem(word)
    for word in "tool tools api manager function mcp call assistant service client use used using agent data info user "
    "details information system based specific given allow perform".split()
)
_CUE: Final = 0.4  # from here on a sentence counts as an order
_MAX_TOOLS: Final = 64  # that a tool is compared with
_MAX_DESCRIPTION: Final = 600  # characters that are read of a description
_MAX_PLACED: Final = 16  # values that are looked for in sentences
_MAX_WORDS: Final = 400  # of a call that are looked for in sentences
_MAX_REPEATED: Final = 300_000_000  # characters of earlier calls that a call's values are looked for in
_MAX_STEMMED: Final = 2_000  # words of a call whose endings are taken off to find those


def _kind(text: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:{'|'.join(text.split())})")


_LOOKS = _kind("get read search list find view fetch show look query retriev check lookup describ browse count ls cat")
_SENDS = _kind("send email mail post publish tweet shar forward messag reply upload submit notif broadcast invit sms")
_PAYS = _kind("pay transfer buy purchas order withdraw deposit send_money trad invest book refund checkout charg donat")
_DESTROYS = _kind(
    "delet remov eras drop destroy wip cancel terminat kill purg clear revok uninstall disabl stop shutdown"
)
_GRANTS = _kind(
    "grant permit allow add_user permission unlock open access password credential authoriz authent role admin"
)
_RUNS = _kind("exec run bash shell terminal command python code script eval sql subprocess invok")
_ACTS = _kind(
    "creat add updat set modify edit writ chang mov renam schedul mak install insert manag start enabl sav append"
)


class _Best(NamedTuple):
    """The sentence that a call matches best."""

    score: float = 0.0
    covers: float = 0.0
    precision: float = 0.0
    cue: float = 0.0
    stems: frozenset[str] = frozenset()


def features(provenance: "Provenance") -> tuple[float, ...]:
    return (*_of_values(provenance), *_of_conversation(provenance), *_of_orders(provenance))


# --- where the values came from ----------------------------------------------------------------------------------


def _of_values(provenance: "Provenance") -> tuple[float, ...]:
    strong = [(o, v) for o, v in zip(provenance.arguments, provenance.values, strict=True) if not o.weak]
    whole = [one.origin for one, _ in strong]
    hard = [one.origin for one, value in strong if value.is_hard]
    inner = [piece for _, value in strong if not value.is_hard for piece in value.pieces]
    telling = sum([len(value.telling) for _, value in strong])
    hard_results = hard.count(Origin.RESULT) + _only_in_results(inner, provenance.conversation)
    size = len(hard) + len(inner)
    return (
        *(_weighted(strong, name, telling) for name in ("user", "results", "nowhere")),
        *(_share(whole.count(origin), len(whole)) for origin in (Origin.USER, Origin.RESULT)),
        _share(hard.count(Origin.USER), size), _share(hard_results, size), log1p(hard_results),
        _share(hard.count(Origin.MODEL), size),
        max([one.results for one, _ in strong], default=0.0),
    )  # fmt: skip


def _weighted(strong: "list[tuple[ArgumentOrigin, Value]]", name: str, total: int) -> float:
    return sum([getattr(one, name) * len(value.telling) for one, value in strong]) / total if total else 0.0


def _only_in_results(pieces: list[Value], conversation: Conversation) -> int:
    def within(piece: Value, pool: Pool) -> bool:
        return bool(piece.words) and pool.words.issuperset(piece.words)

    result, user, system = conversation.result, conversation.user, conversation.system
    return sum(within(p, result) and not within(p, user) and not within(p, system) for p in pieces[:64])


def _of_orders(provenance: "Provenance") -> tuple[float, float]:
    """Whether the values that only results have stand in sentences that sound like orders: the strongest cue of such a
    sentence, and the share of the values that stand in one."""
    cues = [_cue_of(value, provenance.conversation.result) for value in _from_results(provenance)]
    return max(cues, default=0.0), _share(sum(cue >= _CUE for cue in cues), len(cues))


def _from_results(provenance: "Provenance") -> list[Value]:
    """At most `_MAX_PLACED` values, identifiers first, and of a text that is no value as a whole the identifiers."""
    foreign = [
        (origin, value)
        for origin, value in zip(provenance.arguments, provenance.values, strict=True)
        if origin.origin is Origin.RESULT and not origin.weak
    ]
    whole = [value for origin, value in foreign if origin.match in ("exact", "reformatted")]
    user = provenance.conversation.user.words
    inner = [
        p for origin, value in foreign if origin.match == "parts" for p in value.pieces if not user.issuperset(p.words)
    ]
    return sorted([*whole, *inner], key=lambda value: not value.is_hard)[:_MAX_PLACED]


def _cue_of(value: Value, pool: Pool) -> float:
    """The strongest cue of a sentence that has the words of the value."""
    wanted = stems(value.words)
    if not wanted:
        return 0.0
    return max([cue for known, cue in pool.sentences if wanted <= known], default=0.0)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


# --- what the call resembles -------------------------------------------------------------------------------------


def _of_conversation(provenance: "Provenance") -> tuple[float, ...]:
    talk = provenance.conversation
    name = _stems_of_name(provenance.name)
    spec = talk.specs.get(provenance.name)
    description = _described(spec.description[:_MAX_DESCRIPTION]) if spec else frozenset()
    call = _said(provenance) | name
    tool = name | description
    result, order = _best(call, talk.result.sentences), _best_order(call, tool, talk.result.sentences)
    user_covers = max((_covers(call, known) for known, _ in talk.user.sentences), default=(0.0, 0.0))[1]
    covered = _share(len(call & talk.user.stems), len(call))
    pull_user = max(covered, _cover(name, talk.user.stems), _cover(description, talk.user.stems))
    of_name, of_description = _cover(name, order.stems), _cover(description, order.stems)
    pull_order = max(order.covers, of_name, of_description)
    return (
        covered, user_covers,
        result.covers, result.precision, result.cue,
        order.covers, order.precision, order.cue, of_name, of_description,
        talk.result.strongest_cue,
        result.covers - user_covers, order.covers - covered,
        pull_user, pull_order, pull_order - pull_user,
        _cover(name, talk.user.stems), _cover(name, talk.result.stems),
        _cover(description, talk.user.stems), _cover(description, result.stems), _cover(description, talk.system.stems),
        *_ranks(provenance, tool, order.stems),
        *_seen(provenance),
        *_kinds(provenance.name),
    )  # fmt: skip


def _said(provenance: "Provenance") -> frozenset[str]:
    """The longest words of the call's values."""
    found = frozenset(chain.from_iterable(value.telling for value in provenance.values))
    if len(found) > _MAX_STEMMED:
        found = frozenset(nlargest(_MAX_STEMMED, found, key=_length))
    long = {word for word in found if len(word) > MAX_STEMMED}  # no text is said to have one of these
    said = stems(found - long).union(map(stem, long))
    return said if len(said) <= _MAX_WORDS else frozenset(nlargest(_MAX_WORDS, said, key=_length))


def _length(word: str) -> tuple[int, str]:
    return len(word), word


@lru_cache(maxsize=4096)
def _stems_of_name(name: str) -> frozenset[str]:
    found = stems(name_words(name))
    return (found - _PLAIN_TOOL_WORDS) or found


@lru_cache(maxsize=4096)
def _described(text: str) -> frozenset[str]:
    return stems(words(text)) - _PLAIN_TOOL_WORDS


def _cover(wanted: frozenset[str], known: frozenset[str]) -> float:
    return len(wanted & known) / len(wanted) if wanted and known else 0.0


def _covers(call: frozenset[str], known: frozenset[str]) -> tuple[float, float, float]:
    """How well a call and a sentence match, which share of the call the sentence has, and which of it the call has."""
    common = len(call & known)
    if not common:
        return 0.0, 0.0, 0.0
    covers, precision = common / len(call), common / len(known)
    return covers + precision / 2, covers, precision


def _best(call: frozenset[str], sentences: Sequence[Sentence]) -> _Best:
    """The first of the sentences that the call matches best."""
    best, score = _Best(), 0.0
    for known, cue in sentences:
        if not call.isdisjoint(known) and (found := _covers(call, known))[0] > score:
            best, score = _Best(*found, cue, known), found[0]
    return best


def _best_order(call: frozenset[str], tool: frozenset[str], sentences: Sequence[Sentence]) -> _Best:
    """The first of the orders that the call or its tool matches best."""
    best, score = _Best(), 0.0
    for known, cue in sentences:
        if cue >= _CUE:
            found, covers, precision = _covers(call, known)
            related = found + _cover(tool, known) + 0.2
            if related > score:
                best, score = _Best(related, covers, precision, cue, known), related
    return best


def _others(provenance: "Provenance") -> list[frozenset[str]]:
    """The words of the other tools that are declared."""
    tools = provenance.conversation.tools[:_MAX_TOOLS]
    return [_words_of(spec.name, spec.description[:_MAX_DESCRIPTION]) for spec in tools if spec.name != provenance.name]


@lru_cache(maxsize=4096)
def _words_of(name: str, description: str) -> frozenset[str]:
    return _stems_of_name(name) | _described(description)


def _ranks(provenance: "Provenance", tool: frozenset[str], order: frozenset[str]) -> tuple[float, float, float, float]:
    """How this tool stands among the declared ones: by the user's words, and by those of the order."""
    talk = provenance.conversation
    others = _others(provenance)
    by_user, by_order = _cover(tool, talk.user.stems), _cover(tool, order)
    user = [_cover(other, talk.user.stems) for other in others]
    orders = [_cover(other, order) for other in others]
    return (
        _share(sum(score > by_user for score in user), len(user)),
        _share(sum(score > by_order for score in orders), len(orders)),
        by_user - max(user, default=0.0),
        by_order - max(orders, default=0.0),
    )


def _seen(provenance: "Provenance") -> tuple[float, float, float]:
    """Whether the tool was called before, whether with these values, and whether before any result was read."""
    talk = provenance.conversation
    same = [i for i, call in enumerate(talk.calls) if call.name == provenance.name]
    texts = [value.text for value in provenance.values if not value.is_weak]
    costs = accumulate(len(texts) * len(talk.calls[i].arguments) for i in same)
    near = [i for i, cost in zip(same, costs, strict=True) if cost <= _MAX_REPEATED]
    equal = [i for i in near if all(text in talk.calls[i].arguments for text in texts)]
    return float(bool(same)), float(bool(equal)), float(any(i < talk.first_result_at for i in equal))


@lru_cache(maxsize=4096)
def _kinds(name: str) -> tuple[float, ...]:
    found = name_words(name)
    return tuple(
        float(any(kind.match(word) for word in found))
        for kind in (_ACTS, _LOOKS, _SENDS, _PAYS, _DESTROYS, _GRANTS, _RUNS)
    )
