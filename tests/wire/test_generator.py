"""ci/generate_messages.py on a jar made here: what it takes over, what it leaves out, and what `--check` finds."""

import importlib.util
import json
import pathlib
import sys
import zipfile

import pytest

from fastlog.errors import EncodeError

SCRIPT = pathlib.Path(__file__).parent.parent.parent / "ci" / "generate_messages.py"

REQUEST = """
// A comment. It's "quoted".
{
  "apiKey": 900, "type": "request", "name": "ThingRequest", "listeners": ["broker"], // another comment
  "validVersions": "2-4", "flexibleVersions": "3+", "latestVersionUnstable": true,
  "commonStructs": [{"name": "Leaf", "versions": "0+", "fields": [
    {"name": "KRaftId", "type": "int8", "versions": "0+", "default": "0x10", "about": "http://not a comment"}]}],
  "fields": [
    {"name": "Gone", "type": "string", "versions": "0-1"},
    {"name": "Type", "type": "string", "versions": "2+", "nullableVersions": "3+", "default": "null", "ignorable": true},
    {"name": "Leaves", "type": "[]Leaf", "versions": "2+", "nullableVersions": "4+"},
    {"name": "One", "type": "Leaf", "versions": "3+", "taggedVersions": "3+", "tag": 1},
    {"name": "Limit", "type": "int64", "versions": "4+", "default": "-1"}
  ]
}
"""
RESPONSE = {
    "apiKey": 900,
    "type": "response",
    "name": "ThingResponse",
    "validVersions": "2-4",
    "flexibleVersions": "3+",
    "fields": [],
}
OLD = {"apiKey": 901, "type": "request", "name": "OldRequest", "validVersions": "0", "flexibleVersions": "none", "fields": []}
RENAMED = {**OLD, "apiKey": 900, "name": "FormerlyThingRequest"}


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("generate_messages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def jar(path, *definitions):
    with zipfile.ZipFile(path, "w") as archive:
        for definition in definitions:
            text = definition if isinstance(definition, str) else json.dumps(definition)
            archive.writestr(f"common/message/M{len(archive.namelist())}.json", text)
        archive.writestr("common/message/README.md", "not a message")
    return path


@pytest.fixture
def jars(tmp_path):
    removed = {key: value for key, value in OLD.items() if key not in {"fields", "flexibleVersions"}} | {"validVersions": "none"}
    return [jar(tmp_path / "new.jar", REQUEST, RESPONSE, removed), jar(tmp_path / "old.jar", OLD, RENAMED)]


def load(source):
    namespace = {"__name__": "generated"}
    exec(compile(source, "generated", "exec"), namespace)
    return namespace


def test_classes_say_what_the_definitions_say(script, jars):
    files = script.generate(jars)
    assert sorted(files) == ["api_table.py", "old.py", "thing.py"]
    thing = load(files["thing.py"])["ThingRequest"]
    assert (thing.API_KEY, thing.MIN_VERSION, thing.MAX_VERSION, thing.FLEXIBLE_SINCE) == (900, 2, 4, 3)
    assert thing.__slots__ == ("type", "leaves", "one", "limit")
    message = thing(leaves=[thing.Leaf()], one=thing.Leaf(k_raft_id=3))
    assert (message.type, message.limit, message.leaves[0].k_raft_id) == (None, -1, 16)
    assert message.encode(4) == bytes.fromhex("00 02 10 00 ffffffffffffffff 01 01 02 03 00")
    assert thing.decode(message.encode(4), 4) == message
    assert thing(type="t", leaves=[]).encode(2) == bytes.fromhex("0001 74 00000000")
    with pytest.raises(EncodeError, match="type may not be null"):
        thing().encode(2)
    with pytest.raises(EncodeError, match="no field limit"):
        thing(limit=5).encode(3)
    assert "not a comment" not in "".join(files.values())


def test_table_has_stable_versions_and_living_names(script, jars):
    table = load(script.generate(jars)["api_table.py"])
    assert table["ROWS"] == (
        (900, "Thing", "thing", 2, 3, 3, ("broker",)),
        (901, "Old", "old", 0, 0, None, ()),
    )
    assert (table["THING"], table["OLD"]) == (900, 901)


def test_check_finds_what_differs(script, jars, tmp_path, monkeypatch, capsys):
    target = tmp_path / "messages"
    target.mkdir()
    (target / "__init__.py").write_text("# by hand")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "TARGET", target)

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["generate_messages.py", *options, *map(str, jars)])
        return script.main()

    assert run("--check") == 1
    assert not (target / "thing.py").exists()
    assert run() == 0
    assert run("--check") == 0
    (target / "thing.py").write_text((target / "thing.py").read_text() + "# edited")
    (target / "stray.py").write_text("")
    capsys.readouterr()
    assert run("--check") == 1
    assert sorted(line.split(":")[0] for line in capsys.readouterr().err.splitlines()) == [
        "messages/stray.py",
        "messages/thing.py",
    ]
    assert run() == 0
    assert sorted(path.name for path in target.iterdir()) == ["__init__.py", "api_table.py", "old.py", "thing.py"]


def test_python_keywords_are_refused(script, tmp_path):
    bad = {**OLD, "fields": [{"name": "Class", "type": "int8", "versions": "0+"}]}
    with pytest.raises(SystemExit, match="keyword class"):
        script.generate([jar(tmp_path / "bad.jar", bad)])
