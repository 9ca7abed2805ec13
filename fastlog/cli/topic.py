"""`fastlog topic`: create, list, describe, alter, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from fastlog.cli.options import bootstrap_option, echo_json, json_option, settings_option
from fastlog.errors import TopicAlreadyExists, UnknownTopicOrPartition, UsageError

if TYPE_CHECKING:
    from fastlog.client.admin import ConfigValue
    from fastlog.client.blocking import Client
    from fastlog.client.cluster import Topic
    from fastlog.config import Setting

HEARD_OF_TRIES: Final = 50


@click.group("topic", no_args_is_help=True)
def command() -> None:
    """Create, list, describe, alter and delete topics."""


@command.command()
@click.argument("topic")
@click.option("--partitions", type=click.IntRange(min=1), metavar="N", help="How many; the broker's num.partitions by default.")
@click.option("--replication-factor", type=click.IntRange(1, 32_767), metavar="N", help="Replicas of each partition.")
@click.option("--if-not-exists", is_flag=True, help="Leave a topic that is there alone.")
@settings_option("A topic's option, such as retention.ms=3600000; any number of times.")
@json_option("What there is now as one JSON object, and whether it was created.")
@bootstrap_option
def create(
    topic: str,
    partitions: int | None,
    replication_factor: int | None,
    if_not_exists: bool,
    settings: list[Setting],
    as_json: bool,
    bootstrap: str,
) -> None:
    """Create TOPIC."""
    from fastlog.client.admin import BROKER_DEFAULT  # noqa: PLC0415
    from fastlog.client.blocking import Client  # noqa: PLC0415

    is_created = True
    with Client(bootstrap) as client:
        try:
            client.wait(
                client.admin().create_topic(
                    topic,
                    partitions=BROKER_DEFAULT if partitions is None else partitions,
                    replication_factor=BROKER_DEFAULT if replication_factor is None else replication_factor,
                    configs={setting.name: setting.text for setting in settings},
                )
            )
        except TopicAlreadyExists:
            if not if_not_exists:
                raise TopicAlreadyExists(f"the topic {topic} is there already; delete it first, or use --if-not-exists") from None
            is_created = False
        if as_json:
            echo_json({**_described(client, topic), "created": is_created})


@command.command("list")
@json_option()
@bootstrap_option
def list_(as_json: bool, bootstrap: str) -> None:
    """Print the names of all topics, one a line."""
    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        for topic in client.wait(client.admin().topics()):
            if as_json:
                echo_json(_summary(topic))
            else:
                click.echo(topic.name)


@command.command()
@click.argument("topics", metavar="[TOPIC]...", nargs=-1)
@click.option("--all", "with_defaults", is_flag=True, help="Options that the topic has not set itself too.")
@json_option("One JSON object a line, with every option and where it comes from.")
@bootstrap_option
def describe(topics: tuple[str, ...], with_defaults: bool, as_json: bool, bootstrap: str) -> None:
    """Print options, partitions, leaders and replicas of the topics named, or of all."""
    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        try:
            described = client.wait(client.admin().topics(topics or None))
            configs = client.wait(client.admin().topic_configs([topic.name for topic in described]))
        except UnknownTopicOrPartition:
            raise UnknownTopicOrPartition(f"no such topic: {' or '.join(topics)}") from None
    for topic in described:
        if as_json:
            echo_json(_as_json(topic, configs[topic.name]))
            continue
        replicas = max(map(len, topic.replicas), default=0)
        click.echo(f"{topic.name}  id={_topic_id(topic)} partitions={len(topic.leaders)} replication_factor={replicas}")
        for name, config in configs[topic.name].items():
            if with_defaults or config.source == "topic":
                click.echo(f"  {name}={config.value}" + (f"  ({config.source})" if with_defaults else ""))
        for index, leader in enumerate(topic.leaders):
            click.echo(
                f"  {index}  leader={leader if leader >= 0 else 'none'} epoch={topic.epochs[index]}"
                f" replicas={_numbers(topic.replicas[index])} in_sync={_numbers(topic.in_sync[index])}"
            )


@command.command()
@click.argument("topic")
@settings_option("An option to set, such as retention.ms=3600000; any number of times.")
@click.option("--delete", "deleted", metavar="NAME", multiple=True, help="An option to leave to the broker; any number of times.")
@click.option("--partitions", type=click.IntRange(min=1), metavar="N", help="How many there shall be in all, more than now.")
@json_option("What there is now as one JSON object.")
@bootstrap_option
def alter(
    topic: str, settings: list[Setting], deleted: tuple[str, ...], partitions: int | None, as_json: bool, bootstrap: str
) -> None:
    """Alter options of TOPIC, or give it more partitions. Either all of it is done, or nothing."""
    configs = {setting.name: setting.text for setting in settings}
    if not configs and not deleted and partitions is None:
        raise UsageError("nothing is to be altered: give -o NAME=VALUE, --delete NAME or --partitions N")
    for name in deleted:
        if name in configs:
            raise UsageError(f"-o {name} and --delete {name} contradict each other: leave one out")

    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        admin = client.admin()
        try:
            if configs or deleted:
                # With partitions to add after it, only when those can be.
                if partitions is not None:
                    client.wait(admin.create_partitions(topic, partitions, validate_only=True))
                client.wait(admin.alter_topic(topic, configs, list(dict.fromkeys(deleted))))
            if partitions is not None:
                client.wait(admin.create_partitions(topic, partitions))
            if as_json:
                echo_json(_described(client, topic))
        except UnknownTopicOrPartition:
            raise UnknownTopicOrPartition(f"no such topic: {topic}") from None


@command.command()
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@json_option("One JSON object for each topic that was deleted.")
@bootstrap_option
def delete(topics: tuple[str, ...], as_json: bool, bootstrap: str) -> None:
    """Delete topics with all their records."""
    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        for topic in topics:
            try:
                client.wait(client.admin().delete_topic(topic))
            except UnknownTopicOrPartition:
                raise UnknownTopicOrPartition(f"no such topic: {topic}") from None
            if as_json:
                echo_json({"topic": topic, "deleted": True})


def _numbers(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values)) or "none"


def _topic_id(topic: Topic) -> str:
    """A topic's id as Kafka writes it: base64 for URLs, without padding."""
    import base64  # noqa: PLC0415

    return base64.urlsafe_b64encode(topic.topic_id).decode().rstrip("=")


def _summary(topic: Topic) -> dict[str, Any]:
    return {"topic": topic.name, "id": _topic_id(topic), "internal": topic.is_internal, "partitions": len(topic.leaders)}


def _described(client: Client, name: str) -> dict[str, Any]:
    """Describe a topic that is there; the broker that is asked may not have heard yet of what another one has just made."""
    admin = client.admin()
    for tries_left in reversed(range(HEARD_OF_TRIES)):
        try:
            (topic,) = client.wait(admin.topics([name]))
            return _as_json(topic, client.wait(admin.topic_configs([name]))[name])
        except UnknownTopicOrPartition:
            if not tries_left:
                raise
        client.wait(client.cluster.sleep(client.cluster.retry_backoff_ms))
    raise AssertionError("unreachable")


def _as_json(topic: Topic, configs: dict[str, ConfigValue]) -> dict[str, Any]:
    partitions = [
        {
            "partition": index,
            "leader": leader,
            "epoch": topic.epochs[index],
            "replicas": list(topic.replicas[index]),
            "in_sync": list(topic.in_sync[index]),
        }
        for index, leader in enumerate(topic.leaders)
    ]
    options = {name: config._asdict() for name, config in configs.items()}
    return {**_summary(topic), "partitions": partitions, "options": options}
