"""What loading a pickle would cost, told from its operations without building anything.

``torch.load`` runs no code of a file, but it builds what the file says: a key of nested tuples that stands for billions
of entries, a ``bytearray`` of any length, a thousand copies of one list. Nothing in a state dict needs that.
"""

from __future__ import annotations

import dataclasses
import pickletools
from typing import Any

_MOST_ENTRIES = 100_000
_DEEPEST = 50
"""Of tuples: shapes, arguments of calls, keys; hashing one visits all of it, and recurses."""
_LONGEST_CODEC = 20
# Bytes are pickled as text and its encoding, a bytearray as those bytes; others would make memory out of numbers.
_BYTES, _ENCODER = "made bytes", "_codecs.encode"
_ENCODINGS = frozenset({"latin1", "latin-1"})
_BYTE_ARRAYS = frozenset({"builtins.bytearray", "__builtin__.bytearray"})
# What copies its argument is honestly called with one that was made for it, and is not used again.
_COPYING = _BYTE_ARRAYS | {
    _ENCODER,
    "collections.OrderedDict",
    "collections.Counter",
    "builtins.set",
    "__builtin__.set",
    "torch.Size",
}
_MAKING = ("Storage", "Tensor", "_from_cpu_tensor", "_from_numpy", "_rebuild_xla_tensor")
"""Ends of names of what makes tensors from sizes, or copies them."""
_CALLS = frozenset({"REDUCE", "NEWOBJ"})
"""Of those that ``torch.load`` takes."""
_TUPLES = frozenset({"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})


@dataclasses.dataclass(frozen=True)
class _Value:
    """What an operation leaves.

    Attributes:
      entries, depth: of a tuple with the tuples in it.
      text: of a short literal, or the name of an imported function or class.
      last: text of the last entry of a tuple.
      again: it was used before, or a tuple holds such a thing; short texts do not count.
    """

    entries: int = 1
    depth: int = 0
    text: str = ""
    last: str = ""
    again: bool = False


_MARK = _Value()


def check_pickle(stream: Any) -> None:
    """Reads one pickle, up to its end.

    Args:
      stream: a binary file, or a mapped one.

    Raises:
      ValueError: it is none, or holds nested tuples beyond any use, or calls that would make memory out of nothing.
    """
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    for code, argument, _ in pickletools.genops(stream):
        name = code.name
        if name in _PUTS:
            memo[len(memo) if argument is None else int(argument)] = stack[-1]
        elif name in _GETS:
            stack.append(dataclasses.replace(memo[int(argument or 0)], again=True))
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "DUP":
            stack.append(dataclasses.replace(stack[-1], again=True))
        else:
            taken = _taken(code, stack)
            if name in _CALLS:
                stack.append(_called(*taken))
            elif code.stack_after:
                stack.append(_made(name, argument, taken))


def _taken(code: pickletools.OpcodeInfo, stack: list[_Value]) -> list[_Value]:
    """Takes from the stack what an operation reads."""
    before = code.stack_before
    taken: list[_Value] = []
    if pickletools.markobject in before:
        while stack[-1] is not _MARK:
            taken.append(stack.pop())
        stack.pop()
        count = before.index(pickletools.markobject)
    else:
        count = len(before)
    taken += [stack.pop() for _ in range(count)]
    return taken[::-1]


def _made(name: str, argument: object, taken: list[_Value]) -> _Value:
    if name in _TUPLES:
        made = _Value(
            1 + sum(value.entries for value in taken),
            1 + max((value.depth for value in taken), default=0),
            last=taken[-1].text if taken else "",
            again=any(value.again and value.text in ("", _BYTES) for value in taken),
        )
        if made.entries > _MOST_ENTRIES or made.depth > _DEEPEST:
            raise ValueError(f"a tuple of {made.entries:,} entries, {made.depth} deep")
        return made
    if name == "GLOBAL":
        return _Value(text=str(argument).replace(" ", "."))
    if name == "STACK_GLOBAL":
        return _Value(text=".".join(value.text for value in taken))
    return _Value(text=argument if isinstance(argument, str) and len(argument) <= _LONGEST_CODEC else "")


def _called(function: _Value, arguments: _Value) -> _Value:
    """What a call leaves."""
    name = function.text
    honest = not (name in _COPYING and arguments.again) and not name.endswith(_MAKING)
    if name == _ENCODER:
        honest = honest and arguments.last in _ENCODINGS
    elif name in _BYTE_ARRAYS:
        honest = honest and arguments.last in {_BYTES, *_ENCODINGS}
    if not honest:
        raise ValueError(f"it calls {name} in a way that makes memory out of nothing")
    return _Value(text=_BYTES if name == _ENCODER else "")
