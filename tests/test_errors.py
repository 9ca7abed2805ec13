"""Error codes against another implementation's table, and the conduct of the exceptions."""

import pytest
from kio.schema.errors import ErrorCode

from fastlog import errors


def known_classes():
    return [cls for code in range(-1, 256) if (cls := errors.error_class(code)) is not None]


def test_codes_names_and_retriability_are_those_of_kio():
    theirs = {code.value: (code.name.upper(), code.retriable) for code in ErrorCode if code.value}
    ours = {cls.code: (cls.name, cls.retriable) for cls in known_classes() if cls.code in theirs}
    assert len(theirs) > 120
    assert ours == theirs


def test_every_class_has_a_message_of_its_own():
    messages = [str(cls()) for cls in known_classes()]
    assert len(set(messages)) == len(messages) == 134
    assert all("\n" not in message and message.endswith(".") for message in messages)


def test_message_of_the_server_replaces_the_default():
    error = errors.error_for_code(3, "no topic 'x'")
    assert isinstance(error, errors.UnknownTopicOrPartition)
    assert (error.code, error.name, str(error), error.retriable) == (3, "UNKNOWN_TOPIC_OR_PARTITION", "no topic 'x'", True)
    assert str(errors.error_for_code(3, "")) == ""


def test_unknown_code_is_kept():
    error = errors.error_for_code(7777)
    assert type(error) is errors.KafkaError
    assert (error.code, error.retriable) == (7777, False)
    assert "7777" in str(error)
    assert errors.error_class(7777) is None


def test_zero_is_no_error():
    assert errors.error_class(0) is None
    with pytest.raises(ValueError, match="0"):
        errors.error_for_code(0)
