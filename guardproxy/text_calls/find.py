"""All calls of a complete text, in the order in which they begin."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from guardproxy.errors import UpstreamProtocolError
from guardproxy.text_calls.brackets import Brackets, Region
from guardproxy.text_calls.code import programs
from guardproxy.text_calls.elements import element_calls
from guardproxy.text_calls.markers import marked_calls
from guardproxy.text_calls.objects import Spelled, calls_in_region
from guardproxy.text_calls.pythonic import calls_in_list
from guardproxy.text_calls.react import actions
from guardproxy.text_calls.watch import MAX_CALLS, Format, Watch

_OPENING_FENCE = re.compile(r"(?:`{3,}|~{3,})\s{0,64}[\w+#.-]{0,64}\s{0,64}\Z")


class Found(NamedTuple):
    """A call and where its markup begins."""

    start: int
    call: Spelled


def find_calls(text: str, watch: Watch) -> Sequence[Found]:
    """One call that two formats see counts once. Raises UpstreamProtocolError where there are too many to judge."""
    found: dict[Spelled, int] = {}
    for start, call in _all_calls(text, watch):
        found[call] = min(start, found.get(call, start))
        if len(found) > MAX_CALLS:
            raise UpstreamProtocolError(f"the upstream's text holds more than {MAX_CALLS} tool calls")
    return sorted((Found(start, call) for call, start in found.items()), key=lambda each: each.start)


def _all_calls(text: str, watch: Watch) -> Iterator[Found]:
    covered: list[tuple[int, int]] = []
    if Format.MARKERS in watch.formats:
        for start, end, calls in marked_calls(text, watch):
            covered.append((start, end))
            yield from (Found(start, call) for call in calls)
    if Format.XML in watch.formats and (watch.elements or watch.tools):
        yield from (Found(start, call) for start, call in element_calls(text, watch))
    if Format.REACT in watch.formats:
        yield from (Found(start, call) for start, call in actions(text, watch))
    if Format.CODE in watch.formats:
        yield from (Found(start, call) for start, call in programs(text, watch))
    yield from _in_brackets(text, watch, covered)


def calls_of(region: str, watch: Watch) -> list[Spelled]:
    """The calls of one region in brackets."""
    if not region.startswith("[") or region[1:].lstrip()[:1] == "{":
        return calls_in_region(region, watch)
    if Format.JSON not in watch.formats:
        return calls_in_list(region, watch)
    inner = Brackets(frozenset({Format.JSON}))  # the list may lack its end, and objects follow
    objects = [*inner.feed(region[1:], 1), *filter(None, [inner.rest()])]
    return [*calls_in_list(region, watch), *(call for each in objects for call in calls_in_region(each.text, watch))]


def _in_brackets(text: str, watch: Watch, covered: Sequence[tuple[int, int]]) -> Iterator[Found]:
    """The calls of the regions in brackets, but for those that the calls behind a marker are made of."""
    scan = Brackets(watch.formats)
    regions = [*scan.feed(text, 0), *filter(None, [scan.rest()])]
    ahead = iter([*sorted(covered), (len(text) + 1, 0)])
    begin, end = next(ahead)
    reach = 0
    for region in regions:
        while begin <= region.start:
            reach = max(reach, end)
            begin, end = next(ahead)
        if region.start >= reach:
            yield from (Found(_with_fence(text, region), call) for call in calls_of(region.text, watch))


def _with_fence(text: str, region: Region) -> int:
    """Where the region begins, or the fence right before it."""
    opening = _OPENING_FENCE.search(text, max(0, region.start - 200), region.start)
    return opening.start() if opening else region.start
