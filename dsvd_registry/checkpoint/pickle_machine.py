"""A stack machine that reads a pickle as data, without imports and without calls.

The standard library's `pickletools.genops` splits the opcodes; it only parses. Plain data stays plain
data (sets become lists, frozensets tuples). The result of a known torch function becomes a value of
`pickle_values`. Any other object becomes an inert `Placeholder`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from ..errors import CheckpointError
from .checkpoint import shown
from .pickle_globals import KNOWN_NAMES, REBUILD, storage_ref
from .pickle_stack import Stack
from .pickle_values import Global, Placeholder, StorageRef, TensorRef, UnreadableTensor

MAX_PICKLE_BYTES = 256 << 20
MAX_STEPS = 2**24
STEPS_OF_ANY_FILE = 2**18
BYTES_OF_A_STEP = 64
MAX_INTEGER_BITS = 8192
MAX_GLOBAL_NAME = 512
MAX_KEY_PARTS = 256

# fmt: off
LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})
# fmt: on
PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "STOP"})


@dataclass(frozen=True)
class Pickled:
    """The content of a pickle: its value, and its storages, tensors and unknown names, in order."""

    value: object
    storages: tuple[StorageRef, ...]
    tensors: tuple[TensorRef | UnreadableTensor, ...]
    unknown: tuple[str, ...]


def steps_allowed(file_size: int) -> int:
    """The number of steps that the pickles of a file may take.

    A step of one byte may make 130 bytes of objects: a small file must not fill the memory, and most
    of a large file is its tensors.
    """
    return min(MAX_STEPS, STEPS_OF_ANY_FILE + file_size // BYTES_OF_A_STEP)


def read_pickle(stream: IO[bytes], most_steps: int = MAX_STEPS) -> Pickled:
    """Read one pickle, up to its STOP.

    Raises:
        CheckpointError: for a pickle that is not whole and well-formed, and for one of more than
            `most_steps` steps (opcodes, and items that one opcode copies).
    """
    machine = _Machine(most_steps)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    # An invalid escape in a string is a DeprecationWarning, an error where warnings are errors.
    except (ValueError, OverflowError, DeprecationWarning) as error:
        raise CheckpointError(f"its pickle is damaged: {shown(str(error))}") from error
    return machine.result()


class _Machine:
    def __init__(self, most_steps: int) -> None:
        self._most_steps = most_steps
        stack = self._stack = Stack()
        self._memo: dict[object, object] = {}
        self._storages: list[StorageRef] = []
        self._tensors: dict[int, TensorRef | UnreadableTensor] = {}
        self._unknown: dict[str, None] = {}
        self._steps = 0
        self._operations: dict[str, Callable[[], None]] = {
            "MARK": stack.mark,
            "POP": stack.drop,
            "POP_MARK": stack.drop_marked,
            "DUP": lambda: stack.push(stack.top()),
            "NONE": lambda: stack.push(None),
            "NEWTRUE": lambda: stack.push(True),
            "NEWFALSE": lambda: stack.push(False),
            "EMPTY_DICT": lambda: stack.push({}),
            "EMPTY_LIST": lambda: stack.push([]),
            "EMPTY_SET": lambda: stack.push([]),
            "EMPTY_TUPLE": lambda: stack.push(()),
            "TUPLE1": lambda: stack.push(tuple(stack.take(1))),
            "TUPLE2": lambda: stack.push(tuple(stack.take(2))),
            "TUPLE3": lambda: stack.push(tuple(stack.take(3))),
            "TUPLE": lambda: stack.push(tuple(stack.take_marked())),
            "FROZENSET": lambda: stack.push(tuple(stack.take_marked())),
            "LIST": lambda: stack.push(stack.take_marked()),
            "DICT": self._dict,
            "APPEND": lambda: self._append(stack.take(1)),
            "APPENDS": lambda: self._append(stack.take_marked()),
            "ADDITEMS": lambda: self._append(stack.take_marked()),
            "SETITEM": lambda: self._set_items(stack.take(2)),
            "SETITEMS": lambda: self._set_items(stack.take_marked()),
            "MEMOIZE": lambda: self._put(len(self._memo)),
            "STACK_GLOBAL": lambda: self._push_global(stack.take(2)),
            "REDUCE": lambda: self._call(*stack.take(2)),
            "NEWOBJ": lambda: self._call(*stack.take(2)),
            # No known class is made with keyword arguments.
            "NEWOBJ_EX": lambda: stack.push(_placeholder(stack.take(3)[0])),
            "OBJ": lambda: self._call_marked(stack.take_marked()),
            # The attributes of an object are no part of a state dict.
            "BUILD": lambda: stack.push(stack.take(2)[0]),
            "BINPERSID": self._push_storage,
        }

    def step(self, name: str, argument: object) -> None:
        self._spend(1)
        if name in self._operations:
            self._operations[name]()
        elif name in LITERALS:
            self._stack.push(_literal(name, argument))
        elif name in PUTS:
            self._put(argument)
        elif name in GETS:
            if argument not in self._memo:
                raise CheckpointError("its pickle is damaged: it refers to an unknown value")
            self._stack.push(self._memo[argument])
        elif name == "GLOBAL":
            self._push_global(str(argument).split(" ", 1))
        elif name == "INST":
            values = self._stack.take_marked()
            self._push_global(str(argument).split(" ", 1))
            self._call_marked([self._stack.pop(), *values])
        elif name not in WITHOUT_EFFECT:
            raise CheckpointError(f"its pickle uses the opcode {name}, which torch never writes")

    def result(self) -> Pickled:
        return Pickled(
            self._stack.last(),
            tuple(self._storages),
            tuple(self._tensors.values()),
            tuple(self._unknown),
        )

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > self._most_steps:
            raise CheckpointError(f"its pickle takes more than {self._most_steps} steps")

    def _put(self, slot: object) -> None:
        self._memo[slot] = self._stack.top()

    # A Placeholder accepts items and drops them.

    def _append(self, values: list[object]) -> None:
        target = self._stack.top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Placeholder):
            raise CheckpointError("its pickle is damaged: it appends to something that is no list")

    def _dict(self) -> None:
        values = self._stack.take_marked()
        self._stack.push({})
        self._set_items(values)

    def _set_items(self, values: list[object]) -> None:
        target = self._stack.top()
        if len(values) % 2:
            raise CheckpointError("its pickle is damaged: it has a key without a value")
        if isinstance(target, dict):
            for key, value in zip(values[::2], values[1::2], strict=True):
                target[_key(key)] = value
        elif not isinstance(target, Placeholder):
            raise CheckpointError(
                "its pickle is damaged: it sets items of something that is no dictionary"
            )

    def _push_storage(self) -> None:
        storage = storage_ref(self._stack.pop())
        if isinstance(storage, StorageRef):
            self._storages.append(storage)
        self._stack.push(storage)

    def _push_global(self, parts: list[object] | list[str]) -> None:
        module, name = parts if len(parts) == 2 else (None, None)
        if not isinstance(module, str) or not isinstance(name, str):
            raise CheckpointError("its pickle is damaged: it has a global without a name")
        qualified = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if len(qualified) > MAX_GLOBAL_NAME or not qualified.isprintable():
            raise CheckpointError(f"its pickle has the global {shown(qualified)}, not a name")
        if qualified not in KNOWN_NAMES:
            self._unknown[qualified] = None
        self._stack.push(Global(qualified))

    def _call_marked(self, values: list[object]) -> None:
        if not values:
            raise CheckpointError("its pickle is damaged: it makes an object of no class")
        self._call(values[0], tuple(values[1:]))

    def _call(self, function: object, arguments: object) -> None:
        if not isinstance(arguments, tuple):
            raise CheckpointError("its pickle is damaged: it calls without arguments")
        if not isinstance(function, Global) or function.name not in REBUILD:
            self._stack.push(_placeholder(function))
            return
        # A call copies its arguments, and the memo lets a pickle pass the same ones many times.
        self._spend(sum(len(item) for item in arguments if isinstance(item, list | tuple | str)))
        try:
            value = REBUILD[function.name](arguments)
        except (ValueError, IndexError) as error:
            raise CheckpointError(
                f"its pickle is damaged: it calls {function.name} with wrong arguments"
            ) from error
        if isinstance(value, TensorRef | UnreadableTensor):
            self._tensors[id(value)] = value
        self._stack.push(value)


def _literal(name: str, argument: object) -> object:
    if isinstance(argument, int) and argument.bit_length() > MAX_INTEGER_BITS:
        raise CheckpointError(f"its pickle has an integer of {argument.bit_length()} bits")
    if isinstance(argument, bytearray):
        return bytes(argument)
    if name in ("BINSTRING", "SHORT_BINSTRING") and isinstance(argument, str):
        # Python 2 strings, which pickletools decodes as latin-1: text or raw bytes.
        raw = argument.encode("latin-1")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw
    return argument


def _placeholder(function: object) -> Placeholder:
    if not isinstance(function, Global | Placeholder):
        raise CheckpointError("its pickle is damaged: it calls something that is no function")
    return Placeholder(function.name)


def _key(value: object) -> object:
    """Return `value` if hashing it has a bounded cost: the hash of a tuple recurses without a limit."""
    waiting, parts = [value], 0
    while waiting:
        part = waiting.pop()
        parts += 1 if not isinstance(part, tuple) else 1 + len(part)
        if isinstance(part, list | dict) or parts > MAX_KEY_PARTS:
            raise CheckpointError("its pickle has a dictionary key that cannot be one")
        if isinstance(part, tuple):
            waiting.extend(part)
    return value
