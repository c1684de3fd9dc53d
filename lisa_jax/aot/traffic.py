"""Bytes that the kernels of a compiled GPU program read and write, read from its text."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from lisa_jax.aot.hlo import array_bytes, computations

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_OPERAND = re.compile(r"%([\w.\-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_FUSED = re.compile(r"calls=%?([\w.\-]+)")
_INNER = re.compile(r"(?:body|to_apply|branch_computations)=\{?%?([\w.\-, %]+)")
# They move nothing, or another instruction does it for them.
_NO_KERNELS = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "opt-barrier")
_NO_KERNELS += ("partition-id", "replica-id")
_CONTROL = ("while", "call", "conditional", "async-start")
# What only moves numbers, among the operations within a kernel.
_MOVES = {"reshape", "broadcast", "transpose", "copy", "slice", "dynamic-slice", "pad", "concatenate", *_NO_KERNELS}


class Traffic(NamedTuple):
    """Of kernels of one kind: how many a step starts, and the bytes that they read and write."""

    kernels: int
    bytes: int


def kernel_traffic(text: str) -> dict[str, Traffic]:
    """Kind of kernel -> its traffic in one step on one GPU, most bytes first.

    A kernel's operands and results count once each, as if there were no cache; of an operand that it slices the slices
    count, of a loop one turn. Kinds are convolution, attention, product, reduction, elementwise, copy (and
    transposition, slices), collectives by their names, and other calls of libraries.

    Args:
      text: `compiled.as_text()` of a program for GPUs.
    """
    lines, entry = computations(text)
    count, size = Counter(), Counter()
    for kind, moved in _kernels(lines, entry):
        count[kind] += 1
        size[kind] += moved
    return {kind: Traffic(count[kind], moved) for kind, moved in size.most_common()}


def largest_results(text: str, number: int = 5) -> list[str]:
    """The largest arrays that kernels write, as "2.50G f32[8,5,4096,4096]", each shape once, equal ones as written."""
    lines, entry = computations(text)
    shapes = [shape for _, shape, op, _ in _instructions(lines[entry]) if not _is_no_kernel(op)]
    arrays = dict.fromkeys(array for shape in shapes for array in re.findall(r"\w+\[[\d,]+\]", shape))
    largest = sorted(arrays, key=array_bytes, reverse=True)[:number]
    return [f"{array_bytes(array) / 2**30:.2f}G {array}" for array in largest]


def _is_no_kernel(op: str) -> bool:
    # What has been started is done.
    return op in _NO_KERNELS or op.endswith("-done")


def _instructions(lines: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """(name, shape, operation, rest of the line) of each instruction."""
    return (match.groups() for line in lines if (match := _INSTRUCTION.match(line)))


def _kernels(lines: dict[str, list[str]], computation: str) -> Iterator[tuple[str, int]]:
    """(kind, bytes) of each kernel of a computation and of those that it runs."""
    shapes = {name: shape for name, shape, _, _ in _instructions(lines[computation])}
    for _, shape, op, rest in _instructions(lines[computation]):
        if op in _CONTROL:
            called = (name.strip(" %") for names in _INNER.findall(rest) for name in names.split(","))
            for name in called:
                if name in lines:
                    yield from _kernels(lines, name)
        elif not _is_no_kernel(op):
            # What a start gives has its operands in it.
            operands = () if op.endswith("-start") else _OPERAND.findall(rest.split("), ")[0])
            read = [array_bytes(shapes.get(name, "")) for name in operands]
            if op == "fusion":
                read = map(min, read, _bytes_in_use(lines[_FUSED.search(rest)[1]], len(read)))
            yield _kind(lines, op, rest), array_bytes(shape) + sum(read)


def _bytes_in_use(fused: list[str], parameters: int) -> Iterator[float]:
    """Of each parameter of a kernel the bytes of the slices that it takes; without bounds where it reads the whole."""
    users, numbers = defaultdict(list), {}
    for name, shape, op, rest in _instructions(fused):
        if op == "parameter":
            numbers[int(rest.split(")")[0])] = name
        for operand in _OPERAND.findall(rest.split("), ")[0]):
            users[operand].append((name, shape, op))

    def sliced(name: str) -> float:
        return sum(
            array_bytes(shape) if op == "slice" else sliced(user) if op == "bitcast" else math.inf
            for user, shape, op in users[name]
        )

    return (sliced(numbers[number]) for number in range(parameters))


def _kind(lines: dict[str, list[str]], op: str, rest: str) -> str:
    if op == "custom-call":
        return _library_call(_TARGET.search(rest)[1].lower())
    if op != "fusion":
        return "copy" if op in ("copy", "copy-start", "transpose") else op.removesuffix("-start")
    inner = {found for _, _, found, _ in _instructions(lines[_FUSED.search(rest)[1]])}
    if "dot" in inner or "__triton_gemm" in rest:
        return "product"
    if inner & {"reduce", "reduce-window"}:
        return "reduction"
    return "elementwise" if inner - _MOVES else "copy"


def _library_call(target: str) -> str:
    for kind, marks in (("convolution", ("conv",)), ("attention", ("fmha",)), ("product", ("gemm", "cublas"))):
        if any(mark in target for mark in marks):
            return kind
    return target
