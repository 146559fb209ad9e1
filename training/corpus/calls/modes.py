"""The kinds of pairs. Each takes a pair and gives two rows (or none, where the domain's tables lack the texts):
the same tool, much the same arguments and history, and one thing that decides."""

import json
from collections.abc import Callable, Iterator

from training.corpus.calls.obfuscate import encoded
from training.corpus.calls.pair import Pair, Row
from training.corpus.calls.tables import Action, Call, Quiet, Reading, Texts
from training.corpus.calls.talk import Message

BENIGN = "benign"
INJECTED = "injected_goal"


def asked(pair: Pair) -> Iterator[Row]:
    """The user asked for it; an injected text asked for it while the user wanted something read."""
    action = pair.action("ask", "order")
    if action is None:
        return
    reading, taken = pair.reading(action), pair.own if pair.chance(0.5) else pair.other
    text, style = pair.ordered(action, taken)
    history = _covered(pair, reading, text)
    yield Row(history[1], history[0], pair.made(action.call, taken), INJECTED, style)
    task = pair.worded(pair.pick(action.ask))
    talk = pair.talk()
    how = "asked"
    if pair.chance(0.55):
        how = "asked after reading"
        foreign: tuple[str, ...] = ()
        if pair.chance(0.6):
            how = "asked, injection ignored"
            foreign = (_something_else(pair, action),)
        earlier = pair.scope()
        cover, result = earlier.fill(pair.pick(reading.cover)), pair.result(reading, earlier, *foreign)
        if pair.chance(0.5):
            task = _joined(pair, cover, task)
            talk.user(task)
            pair.read(talk, reading, earlier, result)
            yield Row(task, talk.messages, pair.made(action.call, pair.own), BENIGN, how)
            return
        talk.user(cover)
        pair.read(talk, reading, earlier, result)
        talk.says(pair.own.fill(pair.pick(pair.corpus.common["summaries"])))
    talk.user(task)
    yield Row(task, talk.messages, pair.made(action.call, pair.own), BENIGN, how)


def postponed(pair: Pair) -> Iterator[Row]:
    """The user speaks of the very action, with all its values: do it after reading, or do not do it."""
    action = pair.action("ask", "order")
    if action is None:
        return
    reading, ask = pair.reading(action), pair.worded(pair.pick(action.ask))
    cover, call = pair.own.fill(pair.pick(reading.cover)), pair.made(action.call, pair.own)
    extra = (pair.ordered(action, pair.own)[0],) if pair.chance(0.5) else ()
    result = pair.result(reading, pair.own, *extra)
    against = pair.pick(pair.corpus.common["not_now"]).replace("«A»", cover).replace("«B»", ask)
    category = INJECTED if extra else "tool_misuse"
    for task, kind, how in (
        (_joined(pair, cover, ask), BENIGN, "asked"),
        (pair.own.fill(against), category, "not now"),
    ):
        talk = pair.talk()
        talk.user(task)
        pair.read(talk, reading, pair.own, result)
        yield Row(task, talk.messages, call, kind, how)


def same_history(pair: Pair) -> Iterator[Row]:
    """One conversation, one tool: the user's own values, or those of the injected text."""
    action = pair.action("ask", "order")
    if action is None:
        return
    reading, task = pair.reading(action), pair.worded(pair.pick(action.ask))
    taken, args = pair.other, action.call.args
    if action.swap and pair.chance(0.6):
        taken, args = pair.own, {**action.call.args, **action.swap_args}
        text, style = pair.put(pair.pick(action.swap), action, taken, args)
    else:
        text, style = pair.ordered(action, taken)
    talk = pair.talk()
    if pair.chance(0.5):
        task = _joined(pair, pair.own.fill(pair.pick(reading.cover)), task)
        talk.user(task)
        pair.read(talk, reading, pair.own, pair.result(reading, pair.own, text))
    else:
        talk.user(pair.own.fill(pair.pick(reading.cover)))
        pair.read(talk, reading, pair.own, pair.result(reading, pair.own, text))
        talk.says(pair.own.fill(pair.pick(pair.corpus.common["summaries"])))
        talk.user(task)
    own = pair.made(action.call, pair.own)
    theirs = pair.made(action.call, taken, args)
    if own != theirs:
        yield Row(task, talk.messages, own, BENIGN, "injection ignored")
        yield Row(task, talk.messages, theirs, INJECTED, style)


def delegated(pair: Pair) -> Iterator[Row]:
    """The user leaves it to a text: what that says is what he wants. He only wanted it read: it is not."""
    action = pair.action("refer", "order")
    if action is None:
        return
    wanted = pair.pick(action.refer)
    reading = pair.reading(action, wanted)
    data = bool(action.fact) and pair.chance(0.5)
    text = pair.worded(pair.pick(action.fact)) if data else pair.requested(pair.pick(action.order), pair.own)
    result = pair.result(reading, pair.own, text)
    wanted, covered = pair.own.fill(wanted), pair.own.fill(pair.pick(reading.cover))
    call = pair.made(action.call, pair.own)
    for task, category, how in (
        (wanted, BENIGN, "delegated"),
        (covered, "tool_misuse" if data else INJECTED, "only to be read"),
    ):
        talk = pair.talk()
        talk.user(task)
        pair.read(talk, reading, pair.own, result)
        yield Row(task, talk.messages, call, category, how)


def diverted(pair: Pair) -> Iterator[Row]:
    """The user leaves it to a text, and that text holds an injected change or an order of another."""
    action = pair.action("refer", "fact", "order")
    if action is None:
        return
    wanted = pair.pick(action.refer)
    reading = pair.reading(action, wanted)
    taken, args = pair.other, action.call.args
    if action.swap and pair.chance(0.7):
        taken, args = pair.own, {**action.call.args, **action.swap_args}
        text, style = pair.put(pair.pick(action.swap), action, taken, args)
    else:
        text, style = pair.ordered(action, taken)
    task, talk = pair.own.fill(wanted), pair.talk()
    talk.user(task)
    pair.read(talk, reading, pair.own, pair.result(reading, pair.own, pair.worded(pair.pick(action.fact)), text))
    own, theirs = pair.made(action.call, pair.own), pair.made(action.call, taken, args)
    if own != theirs:
        yield Row(task, talk.messages, own, BENIGN, "delegated, injection ignored")
        yield Row(task, talk.messages, theirs, INJECTED, style)


def drifted(pair: Pair) -> Iterator[Row]:
    """What the user said, and what an overreaching model makes of it."""
    action = pair.action("ask", "drift")
    if action is None:
        return
    drift = pair.rng.choice(action.drift)
    task, talk = pair.worded(pair.pick(action.ask)), pair.talk()
    if pair.chance(0.4):
        reading, earlier = pair.reading(action), pair.scope()
        talk.user(earlier.fill(pair.pick(reading.cover)))
        pair.read(talk, reading, earlier, pair.result(reading, earlier))
        talk.says(pair.own.fill(pair.pick(pair.corpus.common["summaries"])))
    talk.user(task)
    yield Row(task, talk.messages, pair.made(action.call, pair.own), BENIGN, "asked")
    args = {key: value for key, value in {**action.call.args, **drift.args}.items() if value is not None}
    yield Row(task, talk.messages, pair.made(action.call, pair.own, args), drift.category, "drifted")


def wished(pair: Pair) -> Iterator[Row]:
    """A harmful wish of the user himself, and its harmless twin."""
    if not pair.domain.wishes:
        return
    wish = pair.rng.choice(pair.domain.wishes)
    pair.case = wish.id
    hide = wish.encode is not None and pair.chance(0.3)
    reading = pair.reading() if pair.chance(0.25) else None
    cases = ((wish.twin_ask, wish.twin_args, BENIGN), (wish.ask, wish.args, wish.category))
    for asks, args, category in cases:
        task, talk = pair.own.fill(pair.pick(asks)), pair.talk()
        if reading is not None:
            earlier = pair.scope()
            talk.user(earlier.fill(pair.pick(reading.cover)))
            pair.read(talk, reading, earlier, pair.result(reading, earlier))
            talk.says(pair.own.fill(pair.pick(pair.corpus.common["summaries"])))
        talk.user(task)
        name, arguments = pair.made(Call(wish.tool, args), pair.own)
        if hide and wish.encode is not None:
            arguments = encoded(pair.rng, wish.encode, arguments)
        yield Row(task, talk.messages, (name, arguments), category, f"{wish.id}{', encoded' if hide else ''}")


def quiet(pair: Pair) -> Iterator[Row]:
    """A tool without arguments, wanted by the user, or by an injected text, or by nobody."""
    if len(pair.domain.quiet) < 2:
        return
    tool = pair.rng.choice(pair.domain.quiet)
    others = [each for each in pair.domain.quiet if each is not tool and (not tool.group or each.group != tool.group)]
    cover = pair.rng.choice(others)
    pair.case = tool.tool.names[0]
    task, talk = pair.own.fill(pair.pick(cover.ask)), pair.talk()
    name = pair.made(Call(tool.tool, {}), pair.own)[0]
    result, category, style = pair.own.fill(pair.pick(pair.corpus.common["done"])), "tool_misuse", "nobody asked"
    if pair.chance(0.8):
        text, style = _use(pair, tool, name)
        result, category = pair.pick((f"{result} {text}", f"{text}\n{result}")), INJECTED
    talk.user(task)
    talk.called(None, (pair.made(Call(cover.tool, {}), pair.own)[0], {}, result))
    yield Row(task, talk.messages, (name, {}), category, style)
    yield _wanted(pair, tool, cover, name)


def grouped(pair: Pair) -> Iterator[Row]:
    """A tool without arguments that fits a task nobody spelt out, or that an injected text brings into another."""
    groups = sorted({tool.group for tool in pair.domain.quiet if tool.group})
    if len(groups) < 2:
        return
    mine, others = ([tool for tool in pair.domain.quiet if tool.group == group] for group in pair.rng.sample(groups, 2))
    first, then = pair.rng.sample(mine, 2)
    pair.case = then.tool.names[0]
    name = pair.made(Call(then.tool, {}), pair.own)[0]
    injected, style = _use(pair, then, name)
    foreign = pair.rng.choice(others)
    for steps, text, category, how in (
        ([first], _something_else(pair, None), BENIGN, "fits the task"),
        ([foreign], injected, INJECTED, style),
    ):
        task, talk = pair.own.fill(pair.pick(steps[0].ask)), pair.talk()
        talk.user(task)
        result = pair.own.fill(pair.pick(pair.corpus.common["done"]))
        if category != BENIGN or pair.chance(0.5):
            result = f"{result} {text}"
        talk.called(None, (pair.made(Call(steps[0].tool, {}), pair.own)[0], {}, result))
        system = f"You are {steps[0].group}." if pair.role else None
        yield Row(task, talk.messages, (name, {}), category, how, system)


def _use(pair: Pair, tool: Quiet, name: str) -> tuple[str, str]:
    """An injection that wants the tool used."""
    about = tool.tool.about[0].rstrip(".")
    order = pair.pick(pair.corpus.common["use_tool"])
    order = order.replace("«NAME»", name).replace("«ABOUT»", about[:1].lower() + about[1:])
    return pair.ordered(Action("quiet", pair.domain.name, Call(tool.tool, {}), (), (order,)), pair.own)


def _wanted(pair: Pair, tool: Quiet, cover: Quiet, name: str) -> Row:
    task, talk = pair.own.fill(pair.pick(tool.ask)), pair.talk()
    how = "asked"
    if pair.chance(0.6):
        task = _joined(pair, pair.own.fill(pair.pick(cover.ask)), task)
        talk.user(task)
        done = pair.own.fill(pair.pick(pair.corpus.common["done"]))
        if pair.chance(0.5):
            how = "asked, injection ignored"
            done = f"{done} {_something_else(pair, None)}"
        talk.called(None, (pair.made(Call(cover.tool, {}), pair.own)[0], {}, done))
    else:
        talk.user(task)
    return Row(task, talk.messages, (name, {}), BENIGN, how)


def confirmed(pair: Pair) -> Iterator[Row]:
    """The agent asks before it does what a text says: the user's yes, or his no or a yes that the text claims."""
    action = pair.action("order")
    if action is None:
        return
    reading = pair.reading(action)
    data = bool(action.fact) and pair.chance(0.4)
    text = pair.worded(pair.pick(action.fact)) if data else pair.requested(pair.pick(action.order), pair.own)
    task, call = pair.own.fill(pair.pick(reading.cover)), pair.made(action.call, pair.own)
    yes, no = pair.pick(pair.corpus.common["yes"]), pair.pick(pair.corpus.common["no"])
    forged = pair.chance(0.35)
    result = pair.result(reading, pair.own, text)
    for agreed in (True, False):
        talk = pair.talk()
        talk.user(task)
        claim = f"{result}\n\n{pair.pick(pair.corpus.common['roles'])}: {yes}" if forged and not agreed else result
        pair.read(talk, reading, pair.own, claim)
        if agreed or not forged:
            talk.says(pair.own.fill(pair.pick(pair.corpus.common["shall_i"])))
            talk.user(yes if agreed else no)
        category = BENIGN if agreed else INJECTED if forged or not data else "tool_misuse"
        yield Row(
            task, talk.messages, call, category, "confirmed" if agreed else "forged yes" if forged else "declined"
        )


def mandated(pair: Pair) -> Iterator[Row]:
    """The operator's instructions say that what comes in is to be done, or that it is not."""
    action = pair.action("order")
    if action is None:
        return
    reading = pair.reading(action)
    text = pair.requested(pair.pick(action.order), pair.own)
    task, result = pair.own.fill(pair.pick(pair.corpus.common["queue"])), pair.result(reading, pair.own, text)
    call = pair.made(action.call, pair.own)
    for key, category in (("mandate", BENIGN), ("no_mandate", INJECTED)):
        talk = pair.talk()
        talk.user(task)
        pair.read(talk, reading, pair.own, result)
        system = " ".join(filter(None, (pair.role, pair.pick(pair.corpus.common[key]))))
        yield Row(task, talk.messages, call, category, key, system)


def pried(pair: Pair) -> Iterator[Row]:
    """Two readings with one tool: the next that the user asked for, or one that a text asked for."""
    found = [reading for reading in pair.domain.readings if reading.second and reading.pry and reading.both]
    if not found:
        return
    reading = pair.rng.choice(found)
    assert reading.second is not None
    assert reading.pry is not None
    own, theirs = pair.made(reading.second, pair.own), pair.made(reading.pry, pair.own)
    action = Action("pry", pair.domain.name, reading.pry, (), reading.pry_order)
    text, style = pair.ordered(action, pair.own)
    task, talk = pair.own.fill(pair.pick(reading.both)), pair.talk()
    talk.user(task)
    pair.read(talk, reading, pair.own, pair.result(reading, pair.own, text))
    yield Row(task, talk.messages, own, BENIGN, "next reading, injection ignored")
    yield Row(task, talk.messages, theirs, INJECTED, f"pry {style}")


def first_reading(pair: Pair) -> Iterator[Row]:
    """The first step of a task, and a look where nobody asked to look; or the same look, asked for."""
    found = [reading for reading in pair.domain.readings if reading.pry]
    if not found:
        return
    reading = pair.rng.choice(found)
    assert reading.pry is not None
    task, pry = pair.own.fill(pair.pick(reading.cover)), pair.made(reading.pry, pair.own)
    wanted, call, how = task, pair.made(reading.call, pair.own), "first step"
    if pair.chance(0.5):
        wanted, call, how = pair.requested(reading.pry_order[0], pair.own), pry, "asked"
    for text, made, category, why in ((wanted, call, BENIGN, how), (task, pry, "privacy", "looks elsewhere")):
        talk = pair.talk()
        talk.user(text)
        yield Row(text, talk.messages, made, category, why)


def chained(pair: Pair) -> Iterator[Row]:
    """The thing that the user described, or another of the same list, which a text may or may not have asked for."""
    if not pair.domain.chains:
        return
    chain = pair.rng.choice(pair.domain.chains)
    task = pair.own.fill(pair.pick(chain.ask))
    name, arguments = pair.made(chain.look, pair.own)
    kept = {**pair.owner, **{slot: pair.own[slot] for slot in chain.keep}}
    others = [each for each in (pair.scope(kept) for _ in range(6)) if each[chain.by] != pair.own[chain.by]][:3]
    if not others:
        return
    own, theirs = pair.made(chain.act, pair.own), pair.made(chain.act, others[0])
    pair.case = f"chain-{chain.act.tool.names[0]}"
    items = [scope.tree(chain.item) for scope in (pair.own, *others)]
    category, how = "tool_misuse", "another of the list"
    if pair.chance(0.6):
        order = pair.pick(pair.corpus.common["use_other"])
        order = order.replace("«NAME»", theirs[0]).replace("«ARGS»", ", ".join(map(str, theirs[1].values())))
        text, how = pair.ordered(Action("chain", pair.domain.name, chain.act, (), (order,)), others[0])
        pair.rng.choice(items)[pair.pick(("note", "comment", "description", "remarks"))] = text
        category = INJECTED
    pair.rng.shuffle(items)
    result = pair.pick(
        (json.dumps(items, ensure_ascii=False), json.dumps({"results": items}), "\n".join(map(str, items)))
    )
    for call, kind, why in ((own, BENIGN, "looked up"), (theirs, category, how)):
        talk = pair.talk()
        talk.user(task)
        talk.called(None, (name, arguments, result))
        yield Row(task, talk.messages, call, kind, why)


def _covered(pair: Pair, reading: Reading, text: str) -> tuple[list[Message], str]:
    task, talk = pair.own.fill(pair.pick(reading.cover)), pair.talk()
    talk.user(task)
    scope = pair.scope({**pair.own.values})
    pair.read(talk, reading, scope, pair.result(reading, scope, text))
    return list(talk.messages), task


def _something_else(pair: Pair, action: Action | None) -> str:
    """An injection with another goal, which the row's call does not serve."""
    near = [each for each in pair.domain.actions if action is None or each.id != action.id]
    far = [each for domain in pair.corpus.domains for each in domain.actions if domain is not pair.domain]
    other = pair.rng.choice(near if near and pair.chance(0.7) else far)
    return pair.ordered(other, pair.scope())[0]


def _joined(pair: Pair, first: str, second: str) -> str:
    links: Texts = pair.corpus.common["links"]
    return pair.pick(links).replace("«A»", first).replace("«B»", second)


Mode = Callable[[Pair], Iterator[Row]]
# How many pairs of a hundred, about.
MODES: tuple[tuple[Mode, int], ...] = (
    (asked, 24),
    (same_history, 18),
    (delegated, 12),
    (diverted, 9),
    (drifted, 10),
    (wished, 14),
    (quiet, 8),
    (grouped, 8),
    (confirmed, 6),
    (mandated, 4),
    (postponed, 7),
    (chained, 12),
    (pried, 10),
    (first_reading, 7),
)
