"""Collectives of a compiled program, read from its text."""

import math
import re
from collections import defaultdict

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_INSTRUCTION = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(-start)?\(")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_CALLED = re.compile(r"(?:body|condition|to_apply|calls|branch_computations)=(?:\{([^}]*)\}|%?([\w.\-]+))")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_CONSTANT = re.compile(r"%?([\w.\-]+) = s32\[\]\S* constant\((\d+)\)")
_COUNTS_UP = re.compile(r"ROOT .* compare\([^,]+, %?([\w.\-]+)\), direction=LT")

Bytes = dict[str, int]


def collective_bytes(text: str, *, in_loops: bool = False) -> Bytes:
    """Bytes of the results of every kind of collective in one run of a program, per chip.

    Collectives within a loop count as often as it turns, once where its text does not say how often. What an
    asynchronous start returns is its operands and results; the results count. A collective that TPUs carry out bit by
    bit beside several computations stands in the text of each of them, with one channel: it counts once.

    Args:
      text: `compiled.as_text()`.
      in_loops: count those within loops only.
    """
    program, entry = computations(text)
    channels: set[str] = set()
    own = {name: _own_bytes(lines, channels) for name, lines in program.items()}
    calls = {name: _calls(lines, program) for name, lines in program.items()}

    def total(name: str, looped: bool) -> Bytes:
        found = defaultdict(int, own.get(name, {}) if looped or not in_loops else {})
        for callee, turns in calls.get(name, ()):
            for kind, size in total(callee, looped or turns is not None).items():
                found[kind] += (turns or 1) * size
        return found

    return dict(sorted(total(entry, False).items())) if entry else {}


def computations(text: str) -> tuple[dict[str, list[str]], str | None]:
    """The lines of every computation of a program's text by name, and the name of the one that is run."""
    lines: dict[str, list[str]] = {}
    entry, current = None, []
    for line in text.splitlines():
        header = None if line.startswith(" ") else _COMPUTATION.match(line)
        if header:
            current = lines.setdefault(header[1], [])
            entry = header[1] if line.startswith("ENTRY") else entry
        else:
            current.append(line)
    return lines, entry


def _own_bytes(lines: list[str], channels: set[str]) -> Bytes:
    """Bytes of the collectives that a computation has itself, on channels that were not seen in others before."""
    found: Bytes = defaultdict(int)
    # Within a computation several may have one channel: they are parts of what was one.
    own: set[str] = set()
    for line in lines:
        instruction, channel = _INSTRUCTION.search(line), _CHANNEL.search(line)
        if instruction is None or (channel and channel[1] in channels):
            continue
        if channel:
            own.add(channel[1])
        shape, kind, started = instruction.groups()
        found[kind] += _result_bytes(shape, kind, started=bool(started))
    channels |= own
    return found


def _calls(lines: list[str], computations: dict[str, list[str]]) -> list[tuple[str, int | None]]:
    """What a computation calls, and how often where it is a loop."""
    found = []
    for line in lines:
        turns = _turns(line, computations) if " while(" in line else None
        names = (name.strip(" %") for several, one in _CALLED.findall(line) for name in (one or several).split(","))
        found += [(name, turns) for name in names]
    return found


def _turns(loop: str, computations: dict[str, list[str]]) -> int:
    """How often a loop turns: as XLA notes it, or by a condition that compares a counter, from 0, with a constant."""
    if trips := _TRIPS.search(loop):
        return int(trips[1])
    condition = computations.get(_CONDITION.search(loop)[1], [])
    constants = dict(found.groups() for line in condition if (found := _CONSTANT.search(line)))
    bounds = (found[1] for line in condition if (found := _COUNTS_UP.search(line)))
    return next((int(constants[name]) for name in bounds if name in constants), 1)


def _result_bytes(shape: str, kind: str, started: bool) -> int:
    arrays = _each_array_bytes(shape)
    # (operands..., results...) of the same number; a permute adds two counters, an all-reduce may lack the operands.
    if started and kind == "collective-permute":
        arrays = arrays[:2]
    if started and (kind != "all-reduce" or shape.startswith("((")) and len(arrays) > 1:
        arrays = arrays[len(arrays) // 2 :]
    return sum(arrays)


def array_bytes(shape: str) -> int:
    """Bytes of an array, or of all of a tuple of arrays, as a program's text writes its shape: "f32[8,4]{1,0}"."""
    return sum(_each_array_bytes(shape))


def _each_array_bytes(shape: str) -> list[int]:
    return [
        _BYTES.get(dtype, 0) * math.prod(int(dimension) for dimension in filter(None, dimensions.split(",")))
        for dtype, dimensions in _ARRAY.findall(shape)
    ]
