"""Pickles read as data: no name in them is looked up, nothing in them is called, and they are bounded.

A pickle is a program for a small stack machine. This one knows numbers, texts and containers, and a fixed table of
names; any other name ends the reading.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_MOST_STEPS = 2_000_000
_ITEMS = "_parameters"


class ForbiddenName(ValueError):
    """The pickle names something that is not in the table; the message is its name."""


class _Mark:
    """Where on the stack the items of a container begin."""


_MARK = _Mark()
_PUSHES = frozenset({
    "FLOAT", "BINFLOAT", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_CONSTANTS: Mapping[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES: Mapping[str, int] = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"}), frozenset({"GET", "BINGET", "LONG_BINGET"})


def read_pickle(
    stream: BinaryIO, known: Mapping[str, Callable[..., Any]], load_persistent: Callable[[Any], Any]
) -> Any:
    """What one pickle in `stream` describes; the stream stands behind it then.

    `known` has by name ("torch._utils._rebuild_tensor_v2") what stands in for it: called with the arguments in the
    pickle. `load_persistent` gives what a persistent id stands for. Of a dictionary only what is under a text or a
    number is kept. Raises ForbiddenName, and ValueError and others where it is broken.
    """
    return _Machine(known, load_persistent).run(stream)


class _Machine:
    def __init__(self, known: Mapping[str, Callable[..., Any]], load_persistent: Callable[[Any], Any]) -> None:
        self._known = known
        self._callable = frozenset(map(id, known.values()))
        self._load_persistent = load_persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = 0

    def run(self, stream: BinaryIO) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            self._count(1)
            if opcode.name == "STOP":
                return self._stack.pop()
            self._do(opcode.name, argument)
        raise ValueError("the pickle has no end")

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise ValueError("the pickle is too long")

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _PUSHES:
            stack.append(argument)
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._replace(_TUPLES[name], tuple(stack[-_TUPLES[name] :]))
        else:
            self._others[name](self, argument)

    def _replace(self, count: int, value: Any) -> None:
        if len(self._stack) < count:
            raise ValueError("the stack is empty")
        del self._stack[-count:]
        self._stack.append(value)

    def _since_mark(self) -> list[Any]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _named(self, name: str) -> Callable[..., Any]:
        if name not in self._known:
            raise ForbiddenName(name)
        return self._known[name]

    def _call(self, function: Any, arguments: Any) -> None:
        # only what came out of the table may be called
        if id(function) not in self._callable:
            raise ValueError("what is no name is called")
        self._stack.append(function(*arguments))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._call(function, arguments)

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        # the text of a tuple that holds another one twice, and so on, has no end
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name is no text")
        self._stack.append(self._named(f"{module}.{name}"))

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            keys, values = pairs[::2], pairs[1::2]
            # what else may be hashed can be nested without end
            target.update({key: value for key, value in zip(keys, values, strict=True) if isinstance(key, str | int)})

    def _append(self, items: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(items)

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _dict(self, _: Any) -> None:
        pairs = self._since_mark()
        self._stack.append({})
        self._set_items(pairs)

    def _build(self, _: Any) -> None:
        """The state of an object: kept of torch's dictionaries of parameters, which have their items there."""
        state, target = self._stack.pop(), self._stack[-1]
        items = state.get(_ITEMS) if isinstance(state, dict) else None
        if isinstance(target, dict) and isinstance(items, dict):
            self._count(len(items))  # one dictionary can be copied in every step
            target.update(items)

    def _new_with_keywords(self, _: Any) -> None:
        self._stack.pop()
        self._reduce(_)

    _others: Mapping[str, Callable[["_Machine", Any], Any]] = {
        "PROTO": lambda self, _: None,
        "FRAME": lambda self, _: None,
        "MARK": lambda self, _: self._stack.append(_MARK),
        "POP": lambda self, _: self._stack.pop(),
        "POP_MARK": lambda self, _: self._since_mark(),
        "DUP": lambda self, _: self._stack.append(self._stack[-1]),
        "MEMOIZE": lambda self, _: self._memo.__setitem__(len(self._memo), self._stack[-1]),
        "EMPTY_LIST": lambda self, _: self._stack.append([]),
        "EMPTY_SET": lambda self, _: self._stack.append([]),
        "EMPTY_DICT": lambda self, _: self._stack.append({}),
        "TUPLE": lambda self, _: self._stack.append(tuple(self._since_mark())),
        "LIST": lambda self, _: self._stack.append(self._since_mark()),
        "FROZENSET": lambda self, _: self._stack.append(self._since_mark()),
        "DICT": _dict,
        "APPEND": lambda self, _: self._append([self._stack.pop()]),
        "APPENDS": lambda self, _: self._append(self._since_mark()),
        "ADDITEMS": lambda self, _: self._append(self._since_mark()),
        "SETITEM": _set_item,
        "SETITEMS": lambda self, _: self._set_items(self._since_mark()),
        "GLOBAL": lambda self, argument: self._stack.append(self._named(argument.replace(" ", "."))),
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "NEWOBJ": _reduce,
        "NEWOBJ_EX": _new_with_keywords,
        "BUILD": _build,
        "PERSID": lambda self, argument: self._stack.append(self._load_persistent(argument)),
        "BINPERSID": lambda self, _: self._stack.append(self._load_persistent(self._stack.pop())),
    }
    """What else such a machine does. The rest (EXT1, INST, OBJ and the like) no program writes that saves weights."""
