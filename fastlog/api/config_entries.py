"""Options as DescribeConfigs and CreateTopics tell them: value, where it comes from, what else was said of it (KIP-226).

The rules of sources and synonyms are Kafka 4.3.1's, as its answers show. A synonym is another name of the same setting together
with who said it; of the names that may stand for an option (`log.retention.ms`, `.minutes`, `.hours`) those that come before the
first mention of the option itself are left out, so the value of an option that is nowhere said, not even by a default, may come
from a name that is not told. The first synonym is the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import dropwhile
from typing import TYPE_CHECKING, Final, NamedTuple

from fastlog.config import OPTIONS, TOPIC_OPTIONS, Option, Source, parse_topic_options, value_text
from fastlog.replication.topic_options import honoured

if TYPE_CHECKING:
    from fastlog.config import Config

_TYPES: Final = {"boolean": 1, "string": 2, "int": 3, "short": 4, "long": 5, "list": 7}
_KAFKA_KINDS: Final = {"log.dir": "list", "listener.security.protocol.map": "string"}
"""Where Kafka tells another type than the one that an option has here."""

Synonym = tuple[str, str, Source]
"""(name, value, who said so)."""


class Entry(NamedTuple):
    """One option of a topic or a broker."""

    name: str
    value: str | None
    source: int
    synonyms: tuple[Synonym, ...]
    is_read_only: bool
    type: int
    doc: str


def topic_entries(config: Config, own: Mapping[str, str]) -> list[Entry]:
    """Return every option of a topic by name; `own` are those that it has set itself, as far as they are in force."""
    own_values = parse_topic_options(honoured(own)[0])
    values = {**config.topic_defaults(), **own_values}
    entries = []
    for name in sorted(TOPIC_OPTIONS):
        value = value_text(values[name])
        synonyms = _synonyms(config, TOPIC_OPTIONS[name][0])
        if name in own_values:
            assert value is not None
            synonyms = ((name, value, Source.TOPIC), *synonyms)
        entries.append(_entry(name, value, synonyms, TOPIC_OPTIONS[name][0], is_read_only=False))
    return entries


def broker_entries(config: Config) -> list[Entry]:
    """Return every option of a broker by name."""
    return [
        _entry(name, value_text(config[name]), _synonyms(config, option), option, is_read_only=option.dynamic == "no")
        for name, option in sorted(OPTIONS.items())
    ]


def cluster_entries(config: Config) -> list[Entry]:
    """Return the dynamic options of all brokers by name."""
    entries = []
    for name, option in sorted(OPTIONS.items()):
        synonyms = tuple(one for one in _synonyms(config, option) if one[2] is Source.CLUSTER)
        if synonyms and synonyms[0][0] == name:
            value = value_text(option.parse(synonyms[0][1]))
            entries.append(_entry(name, value, synonyms, option, is_read_only=option.dynamic == "no"))
    return entries


def strongest_source(config: Config, name: str, own: Mapping[str, str]) -> Source:
    """Return who says a topic's option, counting every name that may stand for it, as CreateTopics tells it."""
    if name in own:
        return Source.TOPIC
    return next(
        (source for source, texts in config.layers if any(option.name in texts for option in TOPIC_OPTIONS[name])), Source.DEFAULT
    )


def _synonyms(config: Config, option: Option) -> tuple[Synonym, ...]:
    names = [one.name for one in TOPIC_OPTIONS[option.topic]] if option.topic is not None else [option.name]
    said = [(name, text, source) for name in names for source, text in config.said(name)]
    return tuple(dropwhile(lambda synonym: synonym[0] != option.name, said))


def _entry(name: str, value: str | None, synonyms: tuple[Synonym, ...], option: Option, *, is_read_only: bool) -> Entry:
    source = synonyms[0][2] if synonyms else Source.DEFAULT
    kind = option.kind if option.name != name else _KAFKA_KINDS.get(name, option.kind)
    return Entry(name, value, source, synonyms, is_read_only, _TYPES[kind], option.doc)
