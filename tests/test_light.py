"""The stand-ins for what `typing` and `enum` give to classes, held against them; loggers that load `logging` when they speak."""

from __future__ import annotations

import copy
import enum
import pickle
import subprocess
import sys
import typing

import pytest

from fastlog import light


class Light(light.NamedTuple):
    """A point with a name."""

    x: int
    y: int = 2
    name: str = "n"

    def total(self):
        return self.x + self.y


class Empty(light.NamedTuple):
    """Nothing."""


class Real(typing.NamedTuple):
    """A point with a name."""

    x: int
    y: int = 2
    name: str = "n"


MADE = [((1,), {}), ((1, 5), {"name": "z"}), ((), {"x": 1, "y": 3}), ((1, 2, "q"), {})]


@pytest.mark.parametrize(("arguments", "named"), MADE)
def test_a_tuple_with_names_is_as_typing_makes_it(arguments, named):
    one, other = Light(*arguments, **named), Real(*arguments, **named)
    assert one == other and tuple(one) == tuple(other) and hash(one) == hash(other)
    assert (one.x, one.y, one.name) == (other.x, other.y, other.name)
    assert repr(one) == repr(other).replace("Real", "Light")
    assert one._asdict() == other._asdict() and one._fields == other._fields
    assert one._replace(y=9) == other._replace(y=9) and type(one._replace(y=9)) is Light
    assert one.total() == other.x + other.y
    assert pickle.loads(pickle.dumps(one)) == one and copy.deepcopy(one) == one and type(copy.copy(one)) is Light


@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((1, 2, "n", 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_a_wrong_call_is_refused_as_typing_does(arguments, named):
    with pytest.raises(TypeError) as one:
        Light(*arguments, **named)
    with pytest.raises(TypeError) as other:
        Real(*arguments, **named)
    assert str(one.value) == str(other.value).replace("Real", "Light")
    with pytest.raises(ValueError, match="z"):
        Light(1)._replace(z=1)


def test_tuples_with_names_match_by_position_and_cannot_be_changed():
    match Light(1, 2):
        case Light(x, _, name):
            assert (x, name) == (1, "n")
    with pytest.raises(AttributeError):
        Light(1).x = 3
    with pytest.raises(AttributeError):
        Light(1).more = 3
    assert Empty() == () and repr(Empty()) == "Empty()" and Light.__doc__ == "A point with a name."


@pytest.mark.parametrize("names", [light.NamedTuple, typing.NamedTuple])
def test_what_inherits_from_a_tuple_with_names_is_a_class_of_its_own(names):
    class Pair(names):
        x: int
        y: int = 2

    class Sum(Pair):
        def total(self):
            return self.x + self.y

    class Twice(Pair):
        mark: str = "no field"

        def __new__(cls, x):
            return super().__new__(cls, x, x)

    assert [Twice(3), Twice(4)] == [(3, 3), (4, 4)] and Sum(1).total() == 3 and Pair(5) == (5, 2)
    assert Twice._fields == ("x", "y") and Twice.mark == "no field" and repr(Sum(1)) == "Sum(x=1, y=2)"
    assert type(Sum(1)._replace(y=3)) is Sum


class LightKind(light.IntEnum):
    """Kinds of things."""

    ONE = 1
    OTHER = -2


class RealKind(enum.IntEnum):
    """Kinds of things."""

    ONE = 1
    OTHER = -2


def test_numbers_with_names_are_as_enum_makes_them():
    for one, other in zip(LightKind, RealKind, strict=True):
        assert (one, one.value, one.name, hash(one)) == (other, other.value, other.name, hash(other))
        assert (str(one), f"{one:3d}", repr(one).replace("Light", "Real")) == (str(other), f"{other:3d}", repr(other))
        assert LightKind(int(one)) is LightKind(one) is LightKind[one.name] is one
        assert isinstance(one, LightKind) and type(one.value) is type(other.value)
        assert pickle.loads(pickle.dumps(one)) is one and copy.deepcopy(one) is one
        assert type(one + 1) is int and type(one | 4) is type(other | 4)
    assert list(LightKind.__members__) == list(RealKind.__members__) and len(LightKind) == len(RealKind)
    assert 1 in LightKind.__members__.values() and 2 not in LightKind.__members__.values()
    assert LightKind.__doc__ == RealKind.__doc__


def test_a_number_without_a_name_is_refused_as_enum_does():
    for wrong in (5, None, "ONE"):
        with pytest.raises(ValueError) as one:
            LightKind(wrong)
        with pytest.raises(ValueError) as other:
            RealKind(wrong)
        assert str(one.value) == str(other.value).replace("Real", "Light")
    with pytest.raises(KeyError, match="NONE"):
        LightKind["NONE"]


def test_generic_classes_can_be_subscripted_and_protocols_inherited():
    parameter = light.TypeVar("T")

    class Box(light.Generic[parameter]):
        pass

    class Shape(light.Protocol):
        pass

    assert isinstance(Box[int](), Box) and issubclass(Shape, light.Protocol)


SPEAK = """
import sys
from fastlog.light import Logger, log_to_stderr
logger = Logger("a.b")
log_to_stderr()
assert "logging" not in sys.modules
logger.warning("%d of %s", 3, "four")
try:
    raise ValueError("why")
except ValueError as error:
    logger.error("it failed", exc_info=error)
import logging
assert logging.getLogger("a.b") is logger._logger and Logger("a.c")._logger is logging.getLogger("a.c")
logging.getLogger("other").info("heard too")
logging.getLogger("other").debug("not heard")
"""


def test_a_logger_loads_logging_when_it_speaks():
    said = subprocess.run(
        [sys.executable, "-c", SPEAK], check=True, capture_output=True, text=True, timeout=60
    ).stderr.splitlines()
    assert [line.split(" ", 2)[2] for line in (said[0], said[1], said[-1])] == [
        "WARNING a.b: 3 of four",
        "ERROR a.b: it failed",
        "INFO other: heard too",
    ]
    assert said[-2] == "ValueError: why"


SPEAK_WITHOUT_FILES = """
import resource
from fastlog.light import Logger, log_to_stderr
logger = Logger("a.b")
log_to_stderr()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
logger.warning("%d of %s", 3, "four")
logger.error("it failed", exc_info=ValueError("why"))
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
logger.warning("again")
"""


def test_a_logger_speaks_also_where_logging_cannot_be_loaded():
    said = subprocess.run(
        [sys.executable, "-c", SPEAK_WITHOUT_FILES], check=True, capture_output=True, text=True, timeout=60
    ).stderr.splitlines()
    assert said[:2] == ["a.b: 3 of four", "a.b: it failed ValueError('why')"]
    assert said[2].split(" ", 2)[2] == "WARNING a.b: again"


def test_a_logger_speaks_as_one_of_logging(caplog):
    light.Logger("fastlog.test").warning("%d", 7)
    (record,) = caplog.records
    assert (record.name, record.getMessage(), record.funcName) == ("fastlog.test", "7", "test_a_logger_speaks_as_one_of_logging")
