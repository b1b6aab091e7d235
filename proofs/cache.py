# SPDX-License-Identifier: GPL-2.0-only
"""Good answers kept between runs, one JSON file a key.

A key is a hash of everything the answers depend on, so an entry is never stale, only unused. Only
PROVED and HELD are kept: a refutation should be seen to happen, and an undetermined check may do
better next time. A file that cannot be read, or that says anything unexpected, counts as absent
and is written anew.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from proofs.files import write_atomically
from proofs.result import Result

_FORMAT: Final = 1


def default_directory(environment: Mapping[str, str]) -> Path:
    """Where the cache is: $IRQPROOF_CACHE, $XDG_CACHE_HOME/irqproof or ~/.cache/irqproof.

    >>> default_directory({"XDG_CACHE_HOME": "/var/tmp/caches"}).as_posix()
    '/var/tmp/caches/irqproof'
    """
    if environment.get("IRQPROOF_CACHE"):
        return Path(environment["IRQPROOF_CACHE"])
    base = environment.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    if os.path.isabs(base):
        return Path(base) / "irqproof"
    return Path(environment.get("HOME") or Path.home()) / ".cache" / "irqproof"


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache in one directory, which need not exist yet."""

    directory: Path

    def get(self, key: str) -> tuple[Result, ...] | None:
        """The answers kept under ``key``, marked as cached; None if there are none to trust."""
        if not key:
            return None
        try:
            return _decode(json.loads(self._file(key).read_bytes()), key)
        except (OSError, ValueError, RecursionError):
            return None

    def put(self, key: str, results: tuple[Result, ...]) -> None:
        """Keep the answers under ``key`` if all are good; raises OSError if it cannot write.

        A reader sees the whole entry or none, also when two processes write at once.
        """
        if not key or not results or not all(result.verdict.good for result in results):
            return
        entry = {"format": _FORMAT, "key": key, "results": [item.to_json() for item in results]}
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(self._file(key), json.dumps(entry))

    def _file(self, key: str) -> Path:
        # A key is the plan's business and may be longer than a file name can be.
        return self.directory / f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def _decode(entry: Any, key: str) -> tuple[Result, ...]:
    if not isinstance(entry, dict) or entry.get("format") != _FORMAT or entry.get("key") != key:
        raise ValueError("not an entry of this cache")
    stored = entry.get("results")
    if not isinstance(stored, list) or not stored:
        raise ValueError("an entry without results")
    results = tuple(replace(Result.from_json(item), cached=True) for item in stored)
    if not all(result.verdict.good for result in results):
        raise ValueError("an entry that should not have been kept")
    return results
