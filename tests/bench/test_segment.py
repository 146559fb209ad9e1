from pathlib import Path

from bench.segment import Phase, Segment, read_segments, write_segments


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    segments = [
        Segment(Phase.PACED, "direct", "guardproxy", 0, 3.0, late_ns=(1,), first_ns=(2, 3), latency_ns=(4, 5)),
        Segment(Phase.START, "guardproxy", "", 1, 0.7, cold_start_s=0.7, rss_mb=98.5),
    ]
    write_segments(tmp_path / "samples.jsonl", segments)
    assert list(read_segments(tmp_path / "samples.jsonl")) == segments
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 2
