"""Files appear whole or not at all, and damage is noticed."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib import paths, store
from lib.errors import UserError


def test_a_failed_write_keeps_the_old_file_and_leaves_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    store.write_text(path, "old")

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="free space"):
        store.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_exception_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    store.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), store.writing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


NESTED = '{"a":' * 200_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (NESTED.encode(), "nested too deeply"),
        (b"[1]", "holds a list in place of a dict"),
        (None, "No such file"),
    ],
)
def test_whatever_is_wrong_with_a_json_file_is_one_outcome(tmp_path, content, words):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        store.parse(path)
    assert store.read_json(path) == {}
    assert store.read_signed(path) is None and path.exists() == (content is not None)
    store.set_aside_damaged(path)
    assert not path.exists()
    assert path.with_name("a.json.damaged-1").exists() == (content is not None)


def test_own_runs_come_before_records_and_both_before_what_lacks_weights(results):
    own, record = paths.runs() / "k", paths.records() / "k"
    assert store.homes("k") == []
    for home in (record, own):
        store.write_json(home / store.MANIFEST, {})
    assert store.homes("k") == [own, record]
    store.write_text(record / "weights.safetensors", "")
    assert store.homes("k") == [record, own]
    store.write_text(own / "weights.safetensors", "")
    assert store.homes("k") == [own, record]
    (own / store.MANIFEST).unlink()
    assert store.homes("k") == [record]


def sealed(folder: Path) -> Path:
    store.write_text(folder / "a.txt", "content of a")
    store.write_text(folder / "b.txt", "content of b")
    store.seal(folder, ["a.txt", "b.txt"])
    return folder


def test_an_untouched_folder_is_whole(tmp_path):
    assert store.damage(sealed(tmp_path)) == ""


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda f: (f / "a.txt").write_text("content of A"), "a.txt differs"),
        (lambda f: (f / "a.txt").write_text(""), "a.txt differs"),
        (lambda f: (f / "b.txt").write_text("content"), "b.txt differs"),
        (lambda f: (f / "b.txt").unlink(), "b.txt is missing"),
        (lambda f: (f / store.MANIFEST).write_text("{"), "unreadable"),
        (lambda f: (f / store.MANIFEST).write_text(NESTED), "unreadable"),
        (lambda f: (f / store.MANIFEST).write_bytes(b'{"a.txt": "\xff"}'), "unreadable"),
        (lambda f: (f / store.MANIFEST).write_text("[]"), "unreadable"),
        (lambda f: (f / store.MANIFEST).write_text("{}"), "is empty"),
        (lambda f: store.write_json(f / store.MANIFEST, {"../a": "0"}), "outside the folder"),
    ],
)
def test_damage_is_named(tmp_path, harm, words):
    harm(sealed(tmp_path))
    assert words in store.damage(tmp_path)


def test_quarantine_moves_aside_and_numbers(tmp_path):
    for number in (1, 2):
        (tmp_path / "run").mkdir()
        assert store.quarantine(tmp_path / "run").name == f"run.damaged-{number}"
    assert not (tmp_path / "run").exists()


def test_a_changed_record_is_not_read_and_set_aside_where_that_is_asked_for(tmp_path):
    path = tmp_path / "r.json"
    store.write_json(path, store.signed({"n": 10, "correct": 7}))
    assert store.read_signed(path) == {"n": 10, "correct": 7}
    store.set_aside_damaged(path)
    assert path.exists()
    path.write_text(path.read_text().replace('"correct": 7', '"correct": 9'))
    assert store.read_signed(path) is None and path.exists()
    store.set_aside_damaged(path)
    assert not path.exists()
    assert (tmp_path / "r.json.damaged-1").exists()
    assert store.read_signed(path) is None


def test_a_bundle_gives_back_each_evaluation_and_none_that_was_changed(tmp_path):
    own = {"a": ("pgd", 1.0, [1]), "b": ("pgd", 1, [2]), "c": ("none", 1.0, [1])}
    records = {
        name: {"n": 2, "bits": bits, "of": {"x": eps}, "protocol": {"attack": attack, "eps": eps}}
        for name, (attack, eps, bits) in own.items()
    }
    raw = store.bundle(records)
    (tmp_path / store.BUNDLE).write_bytes(raw)
    assert store.encode(dict(store.measured(tmp_path))) == store.encode(records)
    assert [*store.measured(tmp_path, "b")] == [("b", records["b"])]
    for place in range(len(raw)):
        for other in (b"7", b"{", b""):
            (tmp_path / store.BUNDLE).write_bytes(raw[:place] + other + raw[place + 1 :])
            assert all(found in records.values() for _, found in store.measured(tmp_path))


def test_a_second_process_waits_and_a_dead_owner_frees_the_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from lib import store\n"
        "with store.one_writer(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(call, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "in\n"
        waited = []
        start = time.monotonic()

        def kill():
            waited.append(True)
            owner.kill()

        with store.one_writer(tmp_path / "run", waiting=kill):
            assert waited
            assert time.monotonic() - start < 30


def test_what_killed_writers_left_is_gone_when_the_lock_is_taken(tmp_path):
    tell = "import os; print(os.getpid())"
    dead = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True).stdout
    home = tmp_path / "run" / "evaluations"
    dead, others = f"{dead.strip()}.tmp", f".e.json.elsewhere.{dead.strip()}.tmp"
    own = f".b.json.{store.HERE}.{os.getpid()}.tmp"
    for name in (f".a.json.{store.HERE}.{dead}", own, others, ".c.tmp", "d.json"):
        store.write_text(home / name, "half")
    with store.one_writer(tmp_path / "run"):
        left = {path.name for path in home.iterdir()}
    assert left == {own, others, ".c.tmp", "d.json"}
