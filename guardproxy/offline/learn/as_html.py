"""A run as one page that needs nothing from anywhere else."""

from collections.abc import Iterator, Sequence
from html import escape

from guardproxy import __version__
from guardproxy.offline.learn.as_text import ROWS, columns_of, shares
from guardproxy.offline.learn.plots import rounds_plot, scatter_plot
from guardproxy.offline.learn.pool import Entry
from guardproxy.offline.learn.run import Outcome, Verdict
from guardproxy.offline.learn.scoring import Measured, Scoring, Share, score
from guardproxy.offline.learn.state import NONE
from guardproxy.offline.learn.tasks import Kind, Task

_MOST_EPISODES = 12  # of each kind, in the report
_STYLE = """
:root { color-scheme: light dark; --text: #1d1f23; --back: #fff; --soft: #6b7280; --rule: #d9dce1; --own: #1f6feb;
  --bag: #b45309; --here: #c11d4e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --back: #14171b; --soft: #9aa3ae; --rule: #343a42;
  --own: #6ea8ff; --bag: #f0a64b; --here: #ff6f9c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; }
blockquote { margin: 1rem 0; padding: .6rem 1rem; border-left: 3px solid var(--own); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule); vertical-align: top; }
th:first-child, td:first-child, td.said { text-align: left; }
td.said { max-width: 34rem; overflow-wrap: anywhere; }
td small, p.note, figcaption { color: var(--soft); }
.plots { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; } svg { display: inline-block; max-width: 100%; }
svg text { font: 10px system-ui, sans-serif; fill: var(--soft); }
path { fill: none; } .grid { stroke: var(--rule); stroke-width: .5; } .own { stroke: var(--own); stroke-width: 2; }
.dot { fill: var(--own); fill-opacity: .55; } .chosen { fill: var(--here); } .none { fill: var(--bag); }
"""


def page_of(outcome: Outcome, tasks: Sequence[Task]) -> str:
    """`tasks` are the held-out ones."""
    body = "\n".join(_body(outcome, tasks))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<html lang="en"><head>{head}<title>guardproxy learn</title><style>{_STYLE}</style></head>'
    return f"<!doctype html>\n{head}\n<body>{body}</body></html>\n"


def _body(outcome: Outcome, tasks: Sequence[Task]) -> Iterator[str]:
    state, search = outcome.state, outcome.search
    yield f"<h1>A prefix for {escape(search.model)}</h1>"
    yield (
        f"<p>guardproxy {escape(__version__)}. {len(state.candidates)} prefixes in {len(state.rounds)} rounds by the "
        f"{escape(search.generator)} generator, scoring {search.scoring}, position <b>{outcome.position}</b>; the "
        f"search ended: {outcome.ended}.</p>"
    )
    yield "".join(f'<p class="note">{escape(note)}.</p>' for note in state.notes)
    yield from _verdict(outcome.verdict, outcome)
    yield from _modes(outcome)
    yield "<h2>The search</h2>"
    yield f'<div class="plots">{_figures(outcome)}</div>'
    yield from _views(outcome)
    if outcome.verdict is not None:
        yield from _episodes(outcome, outcome.verdict, tasks)
    yield from _cost(outcome)


def _verdict(verdict: Verdict | None, outcome: Outcome) -> Iterator[str]:
    if verdict is None:
        yield (
            f"<p><b>No prefix.</b> None does {outcome.floor:.0%} of the benign tasks or more, "
            "or the budget ended before the held-out tasks did.</p>"
        )
        return
    kept = "kept" if verdict.keeps_floor else "<b>not kept: the prefix is refused</b>"
    if not verdict.helps:
        yield "<p><b>The prefix brings nothing, and was not written.</b></p>"
    yield f"<blockquote>{escape(verdict.chosen.candidate.text)}</blockquote>"
    yield (
        f"<p>On tasks that chose nothing ({verdict.with_prefix.performed.n} benign, {verdict.with_prefix.refused.n} "
        f"harmful). In small print Wilson's 95 % interval. Floor of benign tasks done: {verdict.floor:.0%}, {kept}.</p>"
    )
    columns = columns_of(verdict)
    yield f"<table><tr><th></th>{''.join(f'<th>{title}</th>' for title in columns)}</tr>"
    told = [{title: shares(each)[key] for key, title in ROWS} | _by_keywords(each) for each in columns.values()]
    for title in told[0]:
        yield f"<tr><td>{title}</td>{''.join(f'<td>{_share(column[title])}</td>' for column in told)}</tr>"
    yield "</table>"
    if verdict.gated is not None:
        yield f"<p>The gate opens from a risk of {verdict.gated.threshold} on.</p>"


def _modes(outcome: Outcome) -> Iterator[str]:
    if not outcome.modes:
        return
    yield "<h2>The same text in other ways</h2><p>On the same tasks. Where every task is one turn, turns and history "
    yield "make no difference.</p><table>"
    yield f"<tr><th></th>{''.join(f'<th>{title}</th>' for _, title in ROWS)}</tr>"
    for label, measured in outcome.modes.items():
        told = shares(measured)
        yield f"<tr><td>{label}</td>{''.join(f'<td>{_share(told[key])}</td>' for key, _ in ROWS)}</tr>"
    yield "</table>"


def _by_keywords(measured: Measured) -> dict[str, Share]:
    return {
        "as published: acts, no keyword (benign)": measured.acted_by_keywords,
        "as published: keyword, no call (harmful)": measured.refused_by_keywords,
        "as published: keyword, no call (benign)": measured.over_refused_by_keywords,
    }


def _figures(outcome: Outcome) -> str:
    chosen = None if outcome.verdict is None else outcome.verdict.chosen
    by_round, scatter = rounds_plot(outcome.pool, chosen), scatter_plot(outcome.pool, outcome.without, chosen)
    return (
        f"<figure>{by_round}<figcaption>Score by round; the line is the best so far</figcaption></figure>"
        f"<figure>{scatter}<figcaption>Benign tasks done, harmful tasks refused; orange: no prefix, "
        "red: the chosen one</figcaption></figure>"
    )


def _views(outcome: Outcome) -> Iterator[str]:
    views = outcome.pool.views(5)
    for title, entries in (
        ("Best together", views.combined),
        ("Best at benign tasks", views.perform),
        ("Best at refusing", views.refuse),
    ):
        yield f'<h2>{title}</h2><div class="wide"><table>'
        headings = (
            "prefix",
            "round",
            "from",
            "score",
            "as published",
            "benign done",
            "benign refused",
            "refused",
            "attacks",
        )
        yield f"<tr>{''.join(f'<th>{heading}</th>' for heading in headings)}</tr>"
        yield "".join(map(_row, entries)) + "</table></div>"


def _row(entry: Entry) -> str:
    own, published = entry.candidate, score(entry.measured, Scoring.FAITHFUL).combined
    bounds = score(entry.measured, Scoring.BOUNDS).combined
    cells = "".join(f"<td>{_share(share)}</td>" for share in shares(entry.measured).values())
    return (
        f'<tr><td class="said">{escape(own.text)}</td><td>{own.round}</td><td>{escape(own.source)}</td>'
        f"<td>{bounds:.3f}</td><td>{published:.3f}</td>{cells}</tr>"
    )


def _episodes(outcome: Outcome, verdict: Verdict, tasks: Sequence[Task]) -> Iterator[str]:
    excerpts, id = outcome.state.excerpts, verdict.chosen.candidate.id
    yield '<h2>Some held-out tasks</h2><div class="wide"><table>'
    yield "<tr><th>task</th><th>without</th><th>with the prefix</th></tr>"
    for kind in Kind:
        for task in [task for task in tasks if task.kind is kind][:_MOST_EPISODES]:
            said = "".join(f'<td class="said">{escape(excerpts.get((each, task.id), "-"))}</td>' for each in (NONE, id))
            yield f'<tr><td class="said"><b>{kind}</b> {escape(task.user)}</td>{said}</tr>'
    yield "</table></div>"


def _cost(outcome: Outcome) -> Iterator[str]:
    spent = outcome.state.spent
    yield f"<h2>Cost</h2><ul><li>{spent.calls} calls, {spent.tokens} tokens, {outcome.state.episodes} episodes.</li>"
    if spent.estimated:
        yield f"<li>Of {spent.estimated} answers the tokens were estimated by their characters.</li>"
    for kind, count in sorted(spent.troubles.items()):
        yield f"<li>Tried again: {escape(kind)}, {count} times.</li>"
    for kind, count in sorted(outcome.state.unscored.items()):
        yield f"<li>Without an answer and not scored: {count} episodes ({escape(kind)}).</li>"
    yield "</ul>"


def _share(share: Share) -> str:
    return f"{share.value:.1%} <small>{share.low:.1%}-{share.high:.1%}</small>" if share.n else "-"
