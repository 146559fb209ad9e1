import numpy as np

from guardproxy.offline.evaluate.baseline import Bags, features_of, opinions
from guardproxy.offline.evaluate.rows import parse


def bags_of(rows) -> Bags:
    bags = Bags()
    for row in rows:
        bags.add(parse(row))
    return bags


def call(command: str) -> dict[str, object]:
    return {"name": "bash", "arguments": {"command": command}}


def test_words_and_pairs_of_words_of_what_is_judged(make) -> None:
    one, other_task, other_call = (
        features_of(parse(row)) for row in (make(), make(user_task="Something else."), make(tool_call=call("cat a")))
    )
    assert one == other_task != other_call


def test_a_bag_is_bounded(make) -> None:
    words = " ".join(f"word{i}" for i in range(100_000))
    assert len(features_of(parse(make(kind="tool_result", tool_result=words)))) < 4000


def test_it_learns_from_the_other_families(make) -> None:
    rows = [make(tool_call=call(f"wipe disk {i}" if i % 2 else f"list disk {i}")) for i in range(60)]
    harmful = [bool(i % 2) for i in range(60)]
    families = [("one", "two", "three")[i // 20] for i in range(60)]
    found = opinions(bags_of(rows), harmful, families)
    assert found.scores[np.array(harmful)].min() > 0.5 > found.scores[~np.array(harmful)].max()
    assert found.flagged.tolist() == harmful


def test_it_sees_nothing_of_the_family_that_it_judges(make) -> None:
    """In the third family the words mean the contrary: who had seen it would know."""
    words = [("wipe", "list")[i % 2 ^ (i >= 40)] for i in range(60)]
    rows = [make(tool_call=call(f"{word} disk")) for word in words]
    families = [("one", "two", "three")[i // 20] for i in range(60)]
    found = opinions(bags_of(rows), [i % 2 == 0 for i in range(60)], families)
    assert all((found.scores[i] > 0.5) == (words[i] == "wipe") for i in range(40, 60))


def test_one_family_alone_has_no_baseline(make) -> None:
    found = opinions(bags_of([make(), make()]), [True, False], ["one", "one"])
    assert np.isnan(found.scores).all()
    assert not found.flagged.any()


def test_a_row_without_words_is_judged_too(make) -> None:
    rows = [make(kind="tool_result", tool_result=text) for text in ("", "bad", "good", "") * 6]
    found = opinions(bags_of(rows), [False, True, False, True] * 6, ["one"] * 12 + ["two"] * 12)
    assert np.isfinite(found.scores).all()
