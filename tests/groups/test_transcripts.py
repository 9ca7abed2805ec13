"""The state machine of groups as transcripts: what is said to a group, and what it does, in files that people read.

A line that begins with `$` is a step; what follows up to the next is what came of it. `REWRITE_SCRIPTS=1 pytest` writes what
comes of it now: read the difference before you commit it. Steps:

    group [max_size=N] [delay=MS]                      begin anew
    at MS                                              let time pass until then
    join NAME [id=] [instance=] [session=MS] [rebalance=MS] [protocols=NAME:METADATA,...] [type=] [v=VERSION]
    sync NAME id= gen= [instance=] [assign=ID:WHAT,...] [type=] [protocol=]
    heartbeat id= gen= [instance=]        leave [id=] [instance=]        commit [id=] [gen=] [instance=]
    saved [ERROR]                                      the oldest thing that is to be stored is stored, or fails
    restart                                            the group is read again from what was stored last
    die                                                the group goes from this broker
"""

import os
import pathlib

import pytest

from fastlog.errors import NotCoordinator, error_class
from fastlog.groups.classic import ClassicGroup, Limits
from fastlog.groups.member import JoinAnswer, JoinRequest, Protocol

SCRIPTS = sorted((pathlib.Path(__file__).parent.parent / "scripts").glob("group_*.txt"))


def name_of(error):
    return error_class(error).name if error else "NONE"


class Player:
    def __init__(self):
        self.begin({})

    def begin(self, options):
        self.limits = Limits(int(options.get("max_size", 1000)), int(options.get("delay", 0)))
        self.ids = 0
        self.now_ms = 0
        self.saves = []
        self.stored = None
        self.group = ClassicGroup("g", self.limits, self.new_id)

    def new_id(self):
        self.ids += 1
        return str(self.ids)

    def play(self, step):
        verb, *words = step.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = [word for word in words if "=" not in word]
        before = self.state()
        lines = list(getattr(self, verb)(plain, options) or ())
        lines += self.outcome()
        if self.state() != before and verb != "at":
            lines.append(self.state())
        return lines

    def state(self):
        group = self.group
        members = " ".join(group.members) or "nobody"
        return f"[{group.state.value} generation={group.generation} leader={group.leader_id or '-'} {members}]"

    def outcome(self):
        ready = self.group.take()
        for token, answer in ready.answers:
            if isinstance(answer, JoinAnswer):
                text = f"{token} join: {name_of(answer.error)} id={answer.member_id or '-'}"
                if not answer.error:
                    text += f" generation={answer.generation} protocol={answer.protocol_name} leader={answer.leader_id}"
                    text += " skip" if answer.skip_assignment else ""
                    told = ",".join(f"{one.member_id}:{one.metadata.decode()}" for one in answer.members)
                    text += f" members={told}" if told else ""
            else:
                text = f"{token} sync: {name_of(answer.error)}"
                text += "" if answer.error else f" owns={answer.assignment.decode() or '-'}"
            yield text
        for save in ready.saves:
            self.saves.append(save)
            owns = " ".join(f"{one.member_id}:{one.assignment.decode() or '-'}" for one in save.snapshot.members)
            yield f"to be stored: generation={save.snapshot.generation} {owns or 'nobody'}"

    # ---- steps

    def at(self, plain, options):
        until_ms = int(plain[0])
        lines = []
        while self.group.wake_ms <= until_ms:
            self.now_ms = max(self.now_ms, self.group.wake_ms)
            before = self.state()
            self.group.tick(self.now_ms)
            came = list(self.outcome())
            if self.state() != before:
                came.append(self.state())
            lines += [f"{self.now_ms} ms: {line}" for line in came]
        self.now_ms = until_ms
        return lines

    def join(self, plain, options):
        version = int(options.get("v", 9))
        protocols = options.get("protocols", "range:x")
        self.group.join(
            JoinRequest(
                options.get("id", ""),
                options.get("instance"),
                plain[0],
                "/host",
                options.get("type", "consumer"),
                tuple(Protocol(one.split(":")[0], one.split(":")[1].encode()) for one in protocols.split(",") if one),
                int(options.get("session", 10_000)),
                int(options.get("rebalance", 60_000)),
                requires_known_member_id=version >= 4,
                skips_assignment=version >= 9,
            ),
            plain[0],
            self.now_ms,
        )

    def sync(self, plain, options):
        pairs = [one.split(":") for one in options.get("assign", "").split(",") if one]
        self.group.sync(
            options["id"],
            options.get("instance"),
            int(options["gen"]),
            options.get("type"),
            options.get("protocol"),
            {member_id: what.encode() for member_id, what in pairs},
            plain[0],
            self.now_ms,
        )

    def heartbeat(self, plain, options):
        yield name_of(self.group.heartbeat(options["id"], options.get("instance"), int(options["gen"]), self.now_ms))

    def leave(self, plain, options):
        yield name_of(self.group.leave(options.get("id", ""), options.get("instance"), self.now_ms))

    def commit(self, plain, options):
        yield name_of(self.group.why_no_commit(options.get("id", ""), options.get("instance"), int(options.get("gen", -1))))

    def saved(self, plain, options):
        save = self.saves.pop(0)
        error = int(plain[0]) if plain else 0
        if not error:
            self.stored = save.snapshot
        self.group.saved(save, error, self.now_ms)

    def restart(self, plain, options):
        self.saves.clear()
        self.group = ClassicGroup.restore("g", self.limits, self.new_id, self.stored, self.now_ms)

    def die(self, plain, options):
        self.group.die(NotCoordinator.code)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_group_does_as_written(path):
    player = Player()
    written = path.read_text().splitlines()
    played = []
    for line in written:
        if line.startswith("$ "):
            step = line[2:]
            if step.split()[0] == "group":
                player.begin(dict(word.split("=", 1) for word in step.split()[1:]))
                came = []
            else:
                came = player.play(step)
            played += [line, *(f"  {one}" for one in came)]
        elif not line.startswith("  "):
            played.append(line)
    if os.environ.get("REWRITE_SCRIPTS"):
        path.write_text("\n".join(played) + "\n")
    assert played == written


def test_there_are_scripts():
    assert len(SCRIPTS) >= 6
