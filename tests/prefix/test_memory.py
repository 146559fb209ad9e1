from guardproxy.prefix.memory import Memory


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_it_is_bounded_and_the_oldest_leaves():
    memory = Memory(2, 10, Clock())
    for key in "abc":
        memory.put(key, key.upper())
    assert [memory.get(key) for key in "abc"] == [None, "B", "C"]
    assert memory.full


def test_putting_again_makes_young():
    memory = Memory(2, 10, Clock())
    memory.put("a", 1)
    memory.put("b", 2)
    memory.put("a", 3)
    memory.put("c", 4)
    assert (memory.get("a"), memory.get("b")) == (3, None)


def test_it_forgets():
    clock = Clock()
    memory = Memory(2, 10, clock)
    memory.put("a", None)
    clock.now = 5
    memory.put("b", 1)
    assert ("a" in memory, memory.full) == (True, True)
    clock.now = 10.5
    assert ("a" in memory, "b" in memory, memory.full) == (False, True, False)
