"""Collectives of a compiled program, read from its text."""

import re
from collections import defaultdict

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_INSTRUCTION = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(-start)?\(")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|branch_computations)=\{?%?([\w.\-, %]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def collective_bytes(text: str) -> dict[str, int]:
    """Bytes of the results of every kind of collective in one run of a program, per chip.

    Collectives within a loop count as often as XLA knows it to turn. What an asynchronous start returns is its operands
    and results; the results count.

    Args:
      text: `compiled.as_text()`.
    """
    own: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    calls: dict[str, list[tuple[str, int]]] = defaultdict(list)
    entry, current = None, None
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header and not line.startswith(" "):
            current = header[1]
            entry = current if line.startswith("ENTRY") else entry
            continue
        found = _INSTRUCTION.search(line)
        if found:
            own[current][found[2]] += _result_bytes(found[1], found[2], started=bool(found[3]))
        called = _CALLED.findall(line)
        if called:
            trips = _TRIPS.search(line)
            turns = int(trips[1]) if trips and " while(" in line else 1
            calls[current] += [(name.strip(" %"), turns) for names in called for name in names.split(",")]

    def total(name: str) -> dict[str, int]:
        found = defaultdict(int, own.get(name, {}))
        for callee, turns in calls.get(name, ()):
            for kind, size in total(callee).items():
                found[kind] += turns * size
        return found

    return dict(sorted(total(entry).items())) if entry else {}


def _result_bytes(shape: str, kind: str, started: bool) -> int:
    arrays = [_array_bytes(*match) for match in _ARRAY.findall(shape)]
    # (operands..., results...) of the same number; a permute adds two counters.
    if started and kind == "collective-permute":
        arrays = arrays[:2]
    if started and kind != "all-reduce" and len(arrays) > 1:
        arrays = arrays[len(arrays) // 2 :]
    return sum(arrays)


def _array_bytes(dtype: str, dimensions: str) -> int:
    size = _BYTES.get(dtype, 0)
    for dimension in filter(None, dimensions.split(",")):
        size *= int(dimension)
    return size
