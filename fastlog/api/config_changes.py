"""What AlterConfigs and IncrementalAlterConfigs have in common: who may alter what, what a new value must be, and the writing.

An alteration is a function from the options that something has to those that it shall have; it is applied to what the
coordinator holds at that moment, so two clients that alter at the same time both have their way. Only what a request sets is
checked, not what others have written before. An option of a topic that is wrong is INVALID_CONFIG, one of a broker
INVALID_REQUEST, as Kafka has it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from fastlog.api import broker_loggers
from fastlog.api.config_resources import (
    APPEND,
    DELETE,
    RESOURCE_BROKER,
    RESOURCE_BROKER_LOGGER,
    RESOURCE_TOPIC,
    SET,
    SUBTRACT,
    Change,
    broker_of,
    logging_broker,
    unsupported,
)
from fastlog.api.context import CLUSTER_RESOURCE_NAME, OPERATION_ALTER_CONFIGS, RESOURCE_CLUSTER, RequestContext
from fastlog.api.context import RESOURCE_TOPIC as ACL_TOPIC
from fastlog.config import OPTIONS, TOPIC_OPTIONS, Source, parse_dynamic_options, value_text
from fastlog.errors import (
    ClusterAuthorizationFailed,
    InvalidConfig,
    InvalidRequest,
    InvalidTopic,
    KafkaError,
    TopicAuthorizationFailed,
    UnknownServerError,
    UnknownTopicOrPartition,
    UsageError,
)
from fastlog.metadata.image import why_illegal_name
from fastlog.metadata.layout import Entity, broker_entity, topic_entity
from fastlog.replication.topic_options import log_config

if TYPE_CHECKING:
    from fastlog.env.reactor import Flow
    from fastlog.metadata.broker_options import BrokerOptions
    from fastlog.metadata.config_store import ConfigStore
    from fastlog.metadata.view import ClusterView

logger = logging.getLogger(__name__)


class ConfigChanges:
    """Alters the options of topics and brokers."""

    def __init__(self, options: BrokerOptions, view: ClusterView, store: ConfigStore) -> None:
        self._options = options
        self._view = view
        self._store = store

    def alter(
        self,
        context: RequestContext,
        resource: tuple[int, str],
        changes: Collection[Change],
        *,
        replaces: bool = False,
        validate_only: bool = False,
    ) -> Flow[KafkaError | None]:
        """Alter the options of one resource (type, name); return what is wrong with it, None when that is done.

        With `replaces` the changes are all that is left of its options.
        """
        try:
            if resource[0] == RESOURCE_BROKER_LOGGER:
                self._alter_levels(context, resource[1], changes, replaces=replaces, validate_only=validate_only)
                return None
            entity, before = self._find(context, *resource)
            if len({name for name, _, _ in changes}) < len(changes):
                raise InvalidRequest("An option is named more than once.")

            def altered(options: Mapping[str, str]) -> Mapping[str, str]:
                return self._altered(entity, {} if replaces else options, changes)

            if validate_only:
                altered(before)
            else:
                yield self._store.alter(entity, altered)
        except KafkaError as error:
            return error
        except Exception:
            logger.exception("altering options of %s failed", resource)
            return UnknownServerError()
        return None

    def _alter_levels(
        self, context: RequestContext, name: str, changes: Collection[Change], *, replaces: bool, validate_only: bool
    ) -> None:
        if not context.authorize(OPERATION_ALTER_CONFIGS, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
            raise ClusterAuthorizationFailed
        logging_broker(name, self._options.config.broker_id)
        if replaces:
            raise InvalidRequest("Log levels are altered one by one: by IncrementalAlterConfigs.")
        broker_loggers.alter(changes, validate_only=validate_only)

    def _find(self, context: RequestContext, resource_type: int, name: str) -> tuple[Entity, Mapping[str, str]]:
        """Return what a resource is, and the options of its own that it has now."""
        if resource_type == RESOURCE_TOPIC:
            if not context.authorize(OPERATION_ALTER_CONFIGS, ACL_TOPIC, name):
                raise TopicAuthorizationFailed
            if not name:
                raise InvalidRequest("There are no options of all topics.")
            reason = why_illegal_name(name)
            if reason is not None:
                raise InvalidTopic(f"Topic name is invalid: {reason}.")
            topic = self._view.image.topics.get(name)
            if topic is None:
                raise UnknownTopicOrPartition(f"The topic '{name}' does not exist.")
            return topic_entity(name), topic.config
        if resource_type == RESOURCE_BROKER:
            if not context.authorize(OPERATION_ALTER_CONFIGS, RESOURCE_CLUSTER, CLUSTER_RESOURCE_NAME):
                raise ClusterAuthorizationFailed
            config = self._options.config
            broker = broker_of(name, config.broker_id)
            layers = dict(config.layers)
            return broker_entity(broker), layers[Source.CLUSTER if broker is None else Source.BROKER]
        raise unsupported(resource_type)

    def _altered(self, entity: Entity, options: Mapping[str, str], changes: Collection[Change]) -> Mapping[str, str]:
        """Return the options after `changes`; raises the KafkaError that tells what is wrong with one."""
        is_topic = entity.kind == "topics"
        altered = dict(options)
        for name, operation, value in changes:
            if operation == DELETE:
                altered.pop(name, None)
            elif operation not in (SET, APPEND, SUBTRACT):
                raise InvalidRequest(f"There is no operation {operation} on an option.")
            elif value is None:
                raise InvalidRequest(f"{name} is given no value.")
            else:
                altered[name] = self._altered_text(is_topic, name, altered.get(name), operation, value)
        self._check(is_topic, {name: altered[name] for name, _, _ in changes if name in altered})
        return altered

    def _altered_text(self, is_topic: bool, name: str, own: str | None, operation: int, value: str) -> str:
        known = TOPIC_OPTIONS[name][0] if is_topic and name in TOPIC_OPTIONS else None if is_topic else OPTIONS.get(name)
        if known is None or known.kind != "list":
            if operation != SET:
                raise InvalidConfig(f"{name} is no list: it can be set and deleted, not appended to or subtracted from.")
            return value.strip()
        if own is None:
            config = self._options.config
            own = value_text(config.topic_defaults()[name] if is_topic else config[name])
        given = [entry.strip() for entry in value.split(",")]
        entries = [entry.strip() for entry in own.split(",")] if own and operation != SET else []
        if operation == SUBTRACT:
            entries = [entry for entry in entries if entry not in given]
        else:
            entries += given
        return ",".join(dict.fromkeys(entries))

    def _check(self, is_topic: bool, texts: Mapping[str, str]) -> None:
        config = self._options.config
        try:
            if is_topic:
                log_config(config, texts)
            else:
                parse_dynamic_options(texts)
                log_config(config.with_dynamic({}, texts), {})
        except UsageError as error:
            raise (InvalidConfig if is_topic else InvalidRequest)(str(error)) from None
