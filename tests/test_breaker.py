from guardproxy.breaker import Breaker, BreakerState


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, rest_s=5.0, clock=clock)
    for _ in range(3):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = broken(Clock())
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admit()


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(failures=3, rest_s=5.0, clock=Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_after_its_rest_one_trial_is_admitted_and_success_closes_it() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now = 5.0
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit()
    assert not breaker.admit()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admit()


def test_a_failed_trial_opens_it_for_another_rest() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now = 5.0
    assert breaker.admit()
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    clock.now = 9.9
    assert not breaker.admit()
    clock.now = 10.0
    assert breaker.admit()


def test_an_abandoned_trial_leaves_room_for_the_next() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now = 5.0
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit()
