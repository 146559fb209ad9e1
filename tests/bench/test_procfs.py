import os
import time

import pytest

from bench.procfs import Stat, family, parse_core_busy_s, parse_stat, read_family

# A line as the kernel writes it; the name of the program is hostile on purpose.
STAT = (
    "4242 (a) b (c) S 17 4242 17 34816 4242 4194304 3512 0 2 0 250 50 30 20 20 0 3 0 7157 226426880 25600 "
    "18446744073709551615 1 1 0 0 0 0 0 16781312 134217730 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0"
)
CORES = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 1000 7 1 2 3 0 0\ncpu1 10 20 30 1000 5 0 0 40 0 0\nintr 12345\n"


def test_a_stat_line() -> None:
    tick_s, page_mb = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE") / 1e6
    stat = parse_stat(STAT)
    assert (stat.pid, stat.parent) == (4242, 17)
    assert stat.cpu_s == pytest.approx(350 * tick_s)
    assert stat.rss_mb == pytest.approx(25600 * page_mb)


def test_a_core_is_busy_with_all_but_idling_and_waiting() -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert parse_core_busy_s(CORES, 0) == pytest.approx(156 * tick_s)
    assert parse_core_busy_s(CORES, 1) == pytest.approx(100 * tick_s)
    with pytest.raises(ValueError, match="no core 7"):
        parse_core_busy_s(CORES, 7)


def test_a_family_holds_grandchildren_and_no_strangers() -> None:
    stats = [Stat(pid, parent, 0.0, 0.0) for pid, parent in ((30, 20), (20, 10), (10, 1), (40, 1), (50, 40))]
    assert [stat.pid for stat in family(10, stats)] == [10, 20, 30]
    assert family(99, stats) == []


def test_this_process_uses_time_and_memory() -> None:
    before = read_family(os.getpid())[0]
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    after = next(stat for stat in read_family(os.getpid()) if stat.pid == os.getpid())
    assert after.cpu_s >= before.cpu_s + 0.03
    assert 5 < after.rss_mb < 4000
