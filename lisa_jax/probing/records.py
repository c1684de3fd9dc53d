"""Probes on disk: a .jsonl file with one line a run.

A line has id, lam, hook, task, step, seed, setting, alignment, pictures, pixels, rows and decoder, of which:

    hook       null, a name, or a list of names
    setting    what the run has in common with those that it is compared with, by name
    alignment  what is particular about its alignment beside lam and hook, by name
    pictures   how many are fitted, validated and tested on; `pixels` of each at most
    rows       a dict for every probe: "feature", "target", "quantile" of training's noise levels (null: over all of
               them), "r2", and "untrained", the same at step 0
    decoder    a dict for every noise level: "quantile" and the shares of the gap of `shares.explained`
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lisa_jax.experiments.bounds import HOOK, SEED
from lisa_jax.experiments.fields import CONTROL
from lisa_jax.experiments.kinds import Group, NumberOrNull, Several, Table, Text, Whole, or_unset, require
from lisa_jax.files.json_object import JsonError
from lisa_jax.files.lines import append_lines, read_objects

# Of a study's folder; no file of results.
FILE = "probes.jsonl"
# What tells a probed run from another.
RUN = ("id", "lam", "hook", "task", "step", "seed")
# What it may have in common with others, and what is particular about its alignment: fields by name, none by default.
CONTEXT = ("setting", "alignment")
_KINDS = {
    "id": Text(),
    "lam": CONTROL["lisa.lam"],
    "hook": or_unset(HOOK),
    "task": Text(),
    "step": Whole(0, 10**9),
    "seed": SEED,
    "decoder": Several(Table(NumberOrNull()), 0, 10**6),
    **dict.fromkeys(CONTEXT, Group()),
}
# Of a row.
_PROBE = {
    **dict.fromkeys(("feature", "target"), Text()),
    **dict.fromkeys(("quantile", "r2", "untrained"), NumberOrNull()),
}


def append_record(path: str | Path, record: Mapping[str, Any]) -> None:
    """Add a run's line; half a line that a killed process left behind is dropped first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    append_lines(path, [json.dumps(record)])


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """Runs in the order of their first line; of a run that was probed again at the same step, the newest.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a line that is no probed run, by number. A last line that was cut short is left out.
    """
    found = {}
    for where, line in _lines(path):
        try:
            record = {name: {} for name in CONTEXT} | line
            _check(record)
            key = json.dumps([record[name] for name in (*RUN, *CONTEXT)], sort_keys=True)
            found[key] = record
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{where} is no probed run ({type(error).__name__}: {error}): give a file that lisa_jax probe wrote."
            ) from None
    return list(found.values())


def _check(record: Mapping[str, Any]) -> None:
    for name, kind in _KINDS.items():
        require(name, record[name], kind)
    for row in record["rows"]:
        for name, kind in _PROBE.items():
            require(name, row[name], kind)


def _lines(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        yield from read_objects(path)
    except JsonError as error:
        raise ValueError(f"{error}: give a file that lisa_jax probe wrote.") from error
