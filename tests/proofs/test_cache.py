# SPDX-License-Identifier: GPL-2.0-only
"""The cache gives back what it was given, or nothing; never something else."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofs.cache import Cache, default_directory
from proofs.files import write_atomically
from proofs.result import METHODS, Result
from proofs.verdict import Verdict

PROOF = Result(
    "VEC-9", "induction free", "induction", Verdict.PROVED, 0.125, "z3 5.4", assumed=("x",)
)
TEST = Result("VEC-9", "run", "stateful", Verdict.HELD, 1.5, "", bound="20 steps", detail="seed 0")
REFUTED = replace(PROOF, verdict=Verdict.REFUTED)
OPEN = replace(PROOF, verdict=Verdict.UNDETERMINED)

RESULTS = st.builds(
    Result,
    subject=st.text(),
    check=st.text(),
    method=st.sampled_from(METHODS),
    verdict=st.sampled_from(Verdict),
    seconds=st.floats(0, 1e6),
    solver=st.text(),
    bound=st.text(min_size=1),
    assumed=st.lists(st.text()).map(tuple),
    detail=st.text(),
    cached=st.booleans(),
)


@given(RESULTS)
def test_a_result_survives_json(result: Result) -> None:
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_held_needs_a_bound_and_a_method_must_be_known() -> None:
    with pytest.raises(ValueError, match="no stated bound"):
        replace(TEST, bound="")
    with pytest.raises(ValueError, match="unknown method"):
        replace(TEST, method="guess")


@given(st.text(min_size=1), st.lists(RESULTS.filter(lambda r: r.verdict.good), min_size=1))
def test_what_goes_in_comes_out_marked(key: str, results: list[Result]) -> None:
    with TemporaryDirectory() as directory:
        cache = Cache(Path(directory) / "new" / "cache")
        assert cache.get(key) is None
        cache.put(key, tuple(results))
        assert cache.get(key) == tuple(replace(result, cached=True) for result in results)
        assert cache.get(key + "x") is None


@pytest.mark.parametrize("results", [(REFUTED,), (OPEN,), (PROOF, REFUTED), (OPEN, PROOF), ()])
def test_bad_answers_are_not_kept(tmp_path: Path, results: tuple[Result, ...]) -> None:
    cache = Cache(tmp_path)
    cache.put("key", results)
    assert list(tmp_path.iterdir()) == []


def test_no_key_is_never_kept(tmp_path: Path) -> None:
    Cache(tmp_path).put("", (PROOF,))
    assert list(tmp_path.iterdir()) == []
    assert Cache(tmp_path).get("") is None


def _only_file(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


def test_every_truncated_entry_is_ignored_and_written_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("key", (PROOF, TEST))
    file = _only_file(tmp_path)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert cache.get("key") is None
    cache.put("key", (PROOF, TEST))
    assert _only_file(tmp_path).read_bytes() == whole


@pytest.mark.parametrize("verdict", ["refuted", "undetermined", "splendid", 1, None])
def test_an_entry_with_another_verdict_is_ignored(tmp_path: Path, verdict: object) -> None:
    cache = Cache(tmp_path)
    cache.put("key", (PROOF,))
    entry = json.loads(_only_file(tmp_path).read_text())
    entry["results"][0]["verdict"] = verdict
    _only_file(tmp_path).write_text(json.dumps(entry))
    assert cache.get("key") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"format": 1, "key": "key", "results": []}',
        b'{"format": 1, "key": "key", "results": [1]}',
    ],
)
def test_a_file_of_something_else_is_ignored(tmp_path: Path, content: bytes) -> None:
    cache = Cache(tmp_path)
    cache.put("key", (PROOF,))
    _only_file(tmp_path).write_bytes(content)
    assert cache.get("key") is None


def test_an_entry_under_a_wrong_name_is_ignored(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("one", (PROOF,))
    one = _only_file(tmp_path)
    cache.put("two", (TEST,))
    (two,) = set(tmp_path.iterdir()) - {one}
    two.write_bytes(one.read_bytes())
    assert cache.get("two") is None


def test_a_directory_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    assert cache.get("key") is None
    with pytest.raises(OSError):
        cache.put("key", (PROOF,))


def test_where_the_cache_is() -> None:
    home = {"HOME": "/home/someone"}
    assert default_directory(home) == Path("/home/someone/.cache/irqproof")
    xdg = {**home, "XDG_CACHE_HOME": "/var/cache/someone"}
    assert default_directory(xdg) == Path("/var/cache/someone/irqproof")
    assert default_directory({**home, "XDG_CACHE_HOME": "caches"}) == default_directory(home)
    assert default_directory({**xdg, "IRQPROOF_CACHE": "here"}) == Path("here")


def test_writing_replaces_a_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "report"
    write_atomically(file, "one")
    write_atomically(file, "two")
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]


def test_writing_follows_a_link_and_keeps_it(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_writing_to_a_device_does_not_replace_it(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    write_atomically(link, "gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "report"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "half \ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
