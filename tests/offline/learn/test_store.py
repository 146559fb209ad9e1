"""On disk at every moment: one process, one run, whole lines."""

import json
from pathlib import Path

import pytest

from guardproxy.offline.learn.store import LOG, RUN, Store, StoreError, write_whole


def test_what_was_appended_is_there_for_the_next_process(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "run") as store:
        assert not store.begin({"model": "m"})
        store.append({"record": "spent", "n": 1})
        store.append({"record": "spent", "n": 2})
    with Store(tmp_path / "new" / "run") as store:
        assert store.begin({"model": "m"})
        assert [record["n"] for record in store.records()] == [1, 2]
        store.append({"record": "spent", "n": 3})
        assert [record["n"] for record in store.records()] == [1, 2, 3]


def test_a_cut_last_line_is_taken_away_and_the_log_goes_on(tmp_path: Path) -> None:
    whole = b'{"n":1}\n{"n":2}\n'
    for cut in range(1, len(b'{"n":3}')):
        (tmp_path / LOG).write_bytes(whole + b'{"n":3}'[:cut])
        with Store(tmp_path) as store:
            assert [record["n"] for record in store.records()] == [1, 2]
            store.append({"n": 4})
        assert (tmp_path / LOG).read_bytes() == whole + b'{"n":4}\n'


def test_a_broken_line_in_the_middle_is_no_cut(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b'{"n":1\n{"n":2}\n')
    with Store(tmp_path) as store, pytest.raises(StoreError, match=r"log\.jsonl:1: "):
        list(store.records())


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with Store(tmp_path), pytest.raises(StoreError, match="another process"), Store(tmp_path):
        pass
    with Store(tmp_path):
        pass


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.begin({"model": "m", "seed": 1})
        with pytest.raises(StoreError, match="another model, seed;"):
            store.begin({"model": "n", "seed": 2})
    assert json.loads((tmp_path / RUN).read_text()) == {"model": "m", "seed": 1}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"), Store(tmp_path / "file"):
        pass


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "prefix.yaml"
    write_whole(file, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["prefix.yaml"]
