from concurrent.futures import ThreadPoolExecutor

from guardproxy.provenance.once import Remembered, lazy


class Counted:
    def __init__(self) -> None:
        self.worked = 0

    @lazy
    def answer(self) -> int:
        self.worked += 1
        return 42


def test_a_lazy_property_is_worked_out_once_for_each_object() -> None:
    one, other = Counted(), Counted()
    assert (one.answer, one.answer, one.worked) == (42, 42, 1)
    assert other.worked == 0


def test_what_was_used_last_is_remembered() -> None:
    store: Remembered[str, int] = Remembered(10)
    for key in "abc":
        store.put(key, ord(key), 3)
    assert store.get("a") == ord("a")
    store.put("d", 4, 4)  # one of the three has to go, and "b" was used the longest ago
    assert [store.get(key) for key in "abcd"] == [97, None, 99, 4]


def test_a_value_put_again_weighs_once() -> None:
    store: Remembered[str, int] = Remembered(10)
    for value in range(5):
        store.put("a", value, 9)
    store.put("b", 1, 1)
    assert (store.get("a"), store.get("b"), len(store)) == (4, 1, 2)


def test_what_is_too_heavy_is_not_remembered_and_drives_nothing_out() -> None:
    store: Remembered[str, int] = Remembered(10)
    store.put("a", 1, 10)
    store.put("b", 2, 11)
    assert (store.get("a"), store.get("b")) == (1, None)
    store.forget("a")
    store.forget("never put")
    assert len(store) == 0


def test_many_threads_keep_the_weights_right() -> None:
    store: Remembered[int, int] = Remembered(50)

    def work(seed: int) -> None:
        for i in range(2_000):
            key = (seed * 31 + i * 7) % 40
            store.put(key, key, key % 5 + 1)
            found = store.get((key + 3) % 40)
            assert found is None or found == (key + 3) % 40
            if i % 11 == 0:
                store.forget(key)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert sum(key % 5 + 1 for key in range(40) if store.get(key) is not None) <= 50
    for key in range(40):
        store.forget(key)
    store.put(99, 99, 50)  # all of the room is there again
    assert store.get(99) == 99
