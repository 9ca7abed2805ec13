"""What classes are made of that `typing` and `enum` would give, and loggers, at hardly any cost: for modules that a start loads.

`typing` and `logging`, with what they load, would take a third of the time in which a coordinator is ready. So modules on the
way to a server's first answer import names for annotations under `TYPE_CHECKING = False`, which type checkers take for true,
bases of classes from here, and get their loggers here. A type checker sees the standard library's own bases; at run time these
stand in for them:

* `Protocol` and `Generic` are empty bases; a generic class can be subscripted, also with what `TypeVar` returns.
* `NamedTuple` makes tuples with names as `typing.NamedTuple` does: positional, keyword and default arguments, `_fields`,
  `_replace`, `_asdict`, patterns by position; of up to eleven fields. They are read where `from __future__ import annotations`
  puts them.
* `IntEnum` makes numbers with names as `enum.IntEnum` does, of plain members: `name`, `value`, by number, by name, `__members__`.
  (`selectors` loads `enum` in any case; this is about what each class costs.)

`tests/test_light.py` holds them against the real ones. This module imports nothing of fastlog.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from enum import IntEnum
    from types import ModuleType
    from typing import Any, Generic, NamedTuple, Protocol, TypeVar

    __all__ = ["Generic", "IntEnum", "Logger", "NamedTuple", "Protocol", "TypeVar", "log_to_stderr"]
else:
    from _collections import _tuplegetter

    Any = object

    def TypeVar(name: str) -> str:
        """Return something to write between brackets."""
        return name

    class Protocol:
        """A class that is looked at, not inherited from."""

        __slots__ = ()

    class Generic:
        """A class with parameters for its types, which nobody looks at when it runs."""

        __slots__ = ()

        def __class_getitem__(cls, parameters: object) -> type:
            return cls

    _TEMPLATES = (
        lambda cls: _new(cls, ()),
        lambda cls, a: _new(cls, (a,)),
        lambda cls, a, b: _new(cls, (a, b)),
        lambda cls, a, b, c: _new(cls, (a, b, c)),
        lambda cls, a, b, c, d: _new(cls, (a, b, c, d)),
        lambda cls, a, b, c, d, e: _new(cls, (a, b, c, d, e)),
        lambda cls, a, b, c, d, e, f: _new(cls, (a, b, c, d, e, f)),
        lambda cls, a, b, c, d, e, f, g: _new(cls, (a, b, c, d, e, f, g)),
        lambda cls, a, b, c, d, e, f, g, h: _new(cls, (a, b, c, d, e, f, g, h)),
        lambda cls, a, b, c, d, e, f, g, h, i: _new(cls, (a, b, c, d, e, f, g, h, i)),
        lambda cls, a, b, c, d, e, f, g, h, i, j: _new(cls, (a, b, c, d, e, f, g, h, i, j)),
        lambda cls, a, b, c, d, e, f, g, h, i, j, k: _new(cls, (a, b, c, d, e, f, g, h, i, j, k)),
    )
    """Constructors of tuples, by their number of fields."""
    _new = tuple.__new__
    _FunctionType = type(TypeVar)

    def _constructor(qualified_name: str, fields: tuple[str, ...], defaults: tuple[Any, ...]) -> Callable[..., Any]:
        """Return a template whose parameters have the names of the fields: that costs a hundredth of compiling one."""
        code = _TEMPLATES[len(fields)].__code__.replace(
            co_name="__new__", co_qualname=f"{qualified_name}.__new__", co_varnames=("cls", *fields)
        )
        return _FunctionType(code, globals(), "__new__", defaults)

    class _NamedTupleType(type):
        def __new__(metaclass, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            if not bases:
                return super().__new__(metaclass, name, (tuple,), namespace)
            if NamedTuple not in bases:  # a class that inherits from a tuple with names, and adds none
                return super().__new__(metaclass, name, bases, namespace)
            fields = tuple(namespace.get("__annotations__", ()))
            defaults = tuple(namespace.pop(field) for field in fields if field in namespace)
            for index, field in enumerate(fields):
                namespace[field] = _tuplegetter(index, None)
            new = _constructor(namespace["__qualname__"], fields, defaults)
            namespace |= {"__slots__": (), "__match_args__": fields, "_fields": fields, "__new__": new}
            return super().__new__(metaclass, name, bases, namespace)

    class NamedTuple(metaclass=_NamedTupleType):
        """A tuple whose places have names."""

        __slots__ = ()

        def _replace(self, **changes: Any) -> Any:
            """Return the same with other values under some names."""
            result = tuple.__new__(type(self), map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"no fields have these names: {list(changes)!r}")
            return result

        def _asdict(self) -> dict[str, Any]:
            """Return the values by their names."""
            return dict(zip(self._fields, self, strict=True))

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            fields = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({fields})"

    class _IntEnumType(type):
        def __new__(metaclass, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            made = super().__new__(metaclass, name, bases, namespace)
            numbers = {name: value for name, value in namespace.items() if type(value) is int and name[0] != "_"}
            made.__members__ = {name: int.__new__(made, number) for name, number in numbers.items()}
            for member, number in made.__members__.items():
                number.name = member
                setattr(made, member, number)
            made._member_of = {int(number): number for number in made.__members__.values()}
            return made

        def __call__(cls, number: int) -> Any:
            try:
                return cls._member_of[number]
            except KeyError:
                raise ValueError(f"{number!r} is not a valid {cls.__qualname__}") from None

        def __getitem__(cls, name: str) -> Any:
            return cls.__members__[name]

        def __iter__(cls) -> Iterator[Any]:
            return iter(cls.__members__.values())

        def __len__(cls) -> int:
            return len(cls.__members__)

    class IntEnum(int, metaclass=_IntEnumType):
        """A number that has a name."""

        def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
            return type(self), (int(self),)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {int(self)}>"

        __str__ = int.__repr__
        value = property(int)


_WARNING = 30  # as in `logging`
_ERROR = 40
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_is_for_stderr = False


def log_to_stderr() -> None:
    """Have what is logged in this process written to stderr, from INFO on, a line each, unless somebody arranged for more."""
    global _is_for_stderr  # noqa: PLW0603 - as `logging` itself, this belongs to the process
    _is_for_stderr = True
    if "logging" in sys.modules:
        _load_logging()


def _load_logging() -> ModuleType:
    import logging  # noqa: PLC0415 - this is the point

    if _is_for_stderr:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_LINE)  # once: later calls change nothing
    return logging


class Logger:
    """The standard library's logger of a name. Unless somebody else has loaded `logging`, that is done by the first message.

    Where that cannot be done, for want of files or memory, the message goes to stderr as it is: to log never fails.
    """

    __slots__ = ("_logger", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger: logging.Logger | None = None
        if "logging" in sys.modules:
            self._logger = _load_logging().getLogger(name)

    def warning(self, message: str, *arguments: object) -> None:
        """Log a warning."""
        self._log(_WARNING, message, arguments, None)

    def error(self, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        """Log an error, with its traceback where one is given."""
        self._log(_ERROR, message, arguments, exc_info)

    def _log(self, level: int, message: str, arguments: tuple[object, ...], exc_info: BaseException | None) -> None:
        if self._logger is None:
            try:
                self._logger = _load_logging().getLogger(self._name)
            except (ImportError, OSError, MemoryError):
                said = message % arguments if arguments else message
                print(f"{self._name}: {said}", *([] if exc_info is None else [repr(exc_info)]), file=sys.stderr)
                return
        self._logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=3)
