from hypothesis import given
from hypothesis import strategies as st

from guardproxy.classifier.cache import VerdictCache, digest_of


def test_the_least_recently_used_value_goes_first() -> None:
    cache: VerdictCache[str] = VerdictCache(2)
    cache.put(b"a", "A")
    cache.put(b"b", "B")
    assert cache.get(b"a") == "A"
    cache.put(b"c", "C")
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c")) == ("A", None, "C")
    assert (cache.hits, cache.misses) == (3, 1)


def test_a_size_of_zero_keeps_nothing() -> None:
    cache: VerdictCache[str] = VerdictCache(0)
    cache.put(b"a", "A")
    assert cache.get(b"a") is None
    assert len(cache) == 0


@given(st.lists(st.tuples(st.binary(max_size=2), st.integers())), st.integers(0, 5))
def test_it_never_holds_more_than_its_size_and_never_another_keys_value(
    puts: list[tuple[bytes, int]], size: int
) -> None:
    cache: VerdictCache[int] = VerdictCache(size)
    latest: dict[bytes, int] = {}
    for key, value in puts:
        cache.put(key, value)
        latest[key] = value
        assert len(cache) <= size
    for key, value in latest.items():
        assert cache.get(key) in (None, value)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_different_parts_have_different_digests(left: list[str], right: list[str]) -> None:
    assert (digest_of(*left) == digest_of(*right)) == (left == right)


def test_parts_are_not_just_joined_and_lone_surrogates_are_parts_like_others() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("\ud800") != digest_of("\udfff")
