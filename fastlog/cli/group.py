"""`fastlog group`: list, describe, reset-offsets, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from fastlog.cli.options import bootstrap_option, echo_json, json_option
from fastlog.env.wall_time import parse_wall_ms
from fastlog.errors import GroupIdNotFound, NonEmptyGroup, UnknownTopicOrPartition, UsageError

if TYPE_CHECKING:
    from fastlog.client.assignments import TopicPartition
    from fastlog.client.blocking import Client
    from fastlog.client.groups import DescribedGroup, Groups

BEGINNING: Final = "beginning"
END: Final = "end"
EMPTY: Final = "Empty"


@click.group("group", no_args_is_help=True)
def command() -> None:
    """List, describe, reset and delete consumer groups."""


@command.command("list")
@json_option("One JSON object a line, with state, type and coordinator.")
@bootstrap_option
def list_(as_json: bool, bootstrap: str) -> None:
    """Print the names of all groups, one a line."""
    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        for group in client.wait(_groups(client).all()):
            fields = {
                "group": group.group_id,
                "state": group.state,
                "type": group.protocol_type,
                "coordinator": group.coordinator,
            }
            if as_json:
                echo_json(fields)
            else:
                click.echo(group.group_id)


@command.command()
@click.argument("groups", metavar="[GROUP]...", nargs=-1)
@json_option()
@bootstrap_option
def describe(groups: tuple[str, ...], as_json: bool, bootstrap: str) -> None:
    """Print members, what they own, and how far each partition is, of the groups named, or of all."""
    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        api = _groups(client)
        for name in groups or [group.group_id for group in client.wait(api.all())]:
            try:
                group = client.wait(api.describe(name))
            except GroupIdNotFound:
                raise _no_such(name) from None
            offsets = client.wait(api.offsets(name))
            described = _described(group, offsets, _ends(client, group, offsets))
            if as_json:
                echo_json(described)
            else:
                _print(described)


@command.command("reset-offsets")
@click.argument("group")
@click.argument("topics", metavar="[TOPIC[:PARTITION]]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All partitions that the group has committed offsets for.")
@click.option("--to", "to", metavar="N|beginning|end", help="Where each partition is to go on.")
@click.option("--time", "time", metavar="WHEN", help="Go on at the first record of this time: ISO 8601, or ms since 1970.")
@click.option("--shift", type=int, metavar="N", help="So many records on, or back where it is negative.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@json_option()
@bootstrap_option
def reset_offsets(
    group: str,
    topics: tuple[str, ...],
    everything: bool,
    to: str | None,
    time: str | None,
    shift: int | None,
    dry_run: bool,
    as_json: bool,
    bootstrap: str,
) -> None:
    """Have GROUP go on elsewhere in some topics, or in single partitions of them. Nobody may be in the group meanwhile.

    What lies outside of a partition's records is taken to its nearest end.
    """
    if not group:
        raise UsageError("a group has a name that is not empty")
    if bool(topics) == everything:
        raise UsageError("say what to reset: either topics, TOPIC:PARTITION for single partitions, or --all")
    if sum(option is not None for option in (to, time, shift)) != 1:
        raise UsageError("say where to go on: one of --to, --time and --shift")
    if to is not None and to not in (BEGINNING, END) and not (to.isascii() and to.isdigit()):
        raise UsageError(f"--to wants a number, {BEGINNING} or {END}, not {to!r}")
    when_ms = None if time is None else _parse_time(time)

    from fastlog.client.blocking import Client  # noqa: PLC0415
    from fastlog.client.consumer import EARLIEST, LATEST  # noqa: PLC0415

    with Client(bootstrap) as client:
        api = _groups(client)
        committed = client.wait(api.offsets(group))
        if everything:
            wanted = _committed_partitions(client, group, committed)
        else:
            wanted = list(dict.fromkeys(where for name in topics for where in _partitions(client, name)))
        consumer = client.consumer([])
        first = consumer.offsets(dict.fromkeys(wanted, EARLIEST))
        end = consumer.offsets(dict.fromkeys(wanted, LATEST))
        if to == BEGINNING:
            target = first
        elif to == END:
            target = end
        elif to is not None:
            target = dict.fromkeys(wanted, int(to))
        elif when_ms is not None:
            target = consumer.offsets(dict.fromkeys(wanted, when_ms))
        else:
            assert shift is not None
            target = {where: committed.get(where, first[where]) + shift for where in wanted}
        target = {where: min(max(target[where], first[where]), end[where]) for where in wanted}
        if not dry_run:
            _check_nobody_is_in(client, api, group)
            client.wait(api.commit(group, target))
        for topic, partition in wanted:
            before, after = committed.get((topic, partition)), target[topic, partition]
            if as_json:
                echo_json({"topic": topic, "partition": partition, "before": before, "after": after})
            else:
                click.echo(f"{topic}  {partition}  {'-' if before is None else before} -> {after}")


@command.command()
@click.argument("groups", metavar="GROUP...", nargs=-1, required=True)
@json_option("One JSON object for each group that was deleted.")
@bootstrap_option
def delete(groups: tuple[str, ...], as_json: bool, bootstrap: str) -> None:
    """Delete groups with their offsets. Nobody may be in them."""
    from fastlog.client.blocking import Client  # noqa: PLC0415

    with Client(bootstrap) as client:
        for name in groups:
            try:
                client.wait(_groups(client).delete(name))
            except GroupIdNotFound:
                raise _no_such(name) from None
            except NonEmptyGroup:
                raise NonEmptyGroup(f"the group {name} has members: stop them first") from None
            if as_json:
                echo_json({"group": name, "deleted": True})


def _groups(client: Client) -> Groups:
    from fastlog.client.groups import Groups  # noqa: PLC0415

    return Groups(client.cluster)


def _no_such(name: str) -> GroupIdNotFound:
    return GroupIdNotFound(f"no such group: {name or repr(name)}")


def _parse_time(text: str) -> int:
    try:
        return parse_wall_ms(text)
    except ValueError:
        raise UsageError(f"--time wants ISO 8601 (2026-01-31T12:00:00Z) or milliseconds since 1970, not {text!r}") from None


def _partitions(client: Client, text: str) -> list[TopicPartition]:
    name, colon, index = text.partition(":")
    try:
        count = len(client.wait(client.cluster.topic(name)).leaders)
    except UnknownTopicOrPartition:
        raise UnknownTopicOrPartition(f"no such topic: {name}") from None
    if not colon:
        return [(name, partition) for partition in range(count)]
    if not index.isascii() or not index.isdigit() or int(index) >= count:
        raise UsageError(f"{text}: {name} has partitions 0 to {count - 1}")
    return [(name, int(index))]


def _committed_partitions(client: Client, group: str, committed: Mapping[TopicPartition, int]) -> list[TopicPartition]:
    """Return what a group has committed offsets for and is still there."""
    client.wait(client.cluster.refresh(None))
    found = [where for where in sorted(committed) if where[0] in client.cluster.topics]
    if not found:
        raise GroupIdNotFound(f"the group {group} has committed no offsets: name the topics")
    return found


def _check_nobody_is_in(client: Client, api: Groups, group: str) -> None:
    try:
        state = client.wait(api.describe(group)).state
    except GroupIdNotFound:
        return  # it begins with its offsets
    if state != EMPTY:
        raise NonEmptyGroup(f"the group {group} has members: stop them first")


def _ends(client: Client, group: DescribedGroup, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return where the partitions end that are owned or committed; those of topics that are gone are left out."""
    from fastlog.client.consumer import LATEST  # noqa: PLC0415

    wanted = dict.fromkeys([*offsets, *(where for member in group.members for where in member.owns)])
    client.wait(client.cluster.refresh(None))
    there = {where: LATEST for where in wanted if where[0] in client.cluster.topics}
    return client.consumer([]).offsets(there) if there else {}


def _described(
    group: DescribedGroup, offsets: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[str, Any]:
    owners = {where: member for member in group.members for where in member.owns}
    partitions = []
    for where in sorted({*offsets, *owners}):
        committed, end, owner = offsets.get(where), ends.get(where), owners.get(where)
        partitions.append(
            {
                "topic": where[0],
                "partition": where[1],
                "committed": committed,
                "end": end,
                "lag": None if committed is None or end is None else max(0, end - committed),
                "member": None if owner is None else owner.member_id,
            }
        )
    return {
        "group": group.group_id,
        "state": group.state,
        "type": group.protocol_type,
        "protocol": group.protocol,
        "coordinator": group.coordinator,
        "members": [
            {"member": one.member_id, "instance": one.instance_id, "client": one.client_id, "host": one.host.lstrip("/")}
            for one in group.members
        ],
        "partitions": partitions,
    }


def _print(described: Mapping[str, Any]) -> None:
    total = sum(one["lag"] or 0 for one in described["partitions"])
    click.echo(
        f"{described['group']}  state={described['state']} type={described['type'] or '-'}"
        f" protocol={described['protocol'] or '-'} coordinator={described['coordinator']}"
        f" members={len(described['members'])} lag={total}"
    )
    for one in described["members"]:
        instance = f" instance={one['instance']}" if one["instance"] is not None else ""
        click.echo(f"  {one['member']}  client={one['client']} host={one['host']}{instance}")
    for one in described["partitions"]:
        shown = {name: "-" if one[name] is None else one[name] for name in ("committed", "end", "lag", "member")}
        click.echo(
            f"  {one['topic']}  {one['partition']}  committed={shown['committed']} end={shown['end']} lag={shown['lag']}"
            f" member={shown['member']}"
        )
