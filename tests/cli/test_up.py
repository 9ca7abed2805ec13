"""A broker's process: its line, its end, its restart, and what keeps it from starting."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from kazoo.client import KazooClient

from fastlog.cli.main import run
from fastlog.client.blocking import Client
from fastlog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse


def refused(program, *arguments):
    """Return the one line of a broker that does not start."""
    code, out, err = program.finish(program(*arguments))
    assert (code, out) == (2, b""), (code, out, err)
    assert err.startswith(b"fastlog: ") and err.count(b"\n") == 1, err
    return err.decode()


def test_the_line_says_where_clients_go_and_sigterm_stops_it_cleanly(up, tmp_path):
    started = up("--data", tmp_path / "data")
    host, _, port = started.bootstrap.rpartition(":")
    assert host == "127.0.0.1" and int(port) > 0
    assert started.fields["pids"] == started.fields["coordinator_pid"] == str(started.process.pid)
    outside = KazooClient(started.fields["coordinator"])
    outside.start(timeout=60)
    assert outside.get_children("/brokers/ids") == ["1"]
    outside.stop()
    outside.close()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["broker-1", "coordinator"]
    assert not (tmp_path / "data/broker-1/.kafka_cleanshutdown").exists()
    assert started.end(signal.SIGTERM) == 0
    assert (tmp_path / "data/broker-1/.kafka_cleanshutdown").exists()


def test_a_broker_whose_data_directory_has_gone_ends_and_says_why(up, program, tmp_path):
    started = up("--data", tmp_path / "data")
    (tmp_path / "data/broker-1").rename(tmp_path / "gone")
    program("topic", "create", "t", "--bootstrap", started.bootstrap)
    with started.process as process:
        assert process.wait(timeout=60) == 1
        line = process.stderr.read().decode().splitlines()[-1]
    assert line.startswith(f"fastlog: log directory {tmp_path}/data/broker-1 is fenced: "), line


@pytest.mark.parametrize("command", ["up", "coordinator"])
@pytest.mark.parametrize(("stdout", "end"), [("gone", (141, b"")), ("full", (1, b"fastlog: No space left on device\n"))])
def test_what_cannot_say_that_it_is_ready_ends(program, tmp_path, command, stdout, end):
    if stdout == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    started = program(command, "--port", 0, "--data", tmp_path, stdout=descriptor)
    os.close(descriptor)
    code, _, err = program.finish(started)
    assert (code, err) == end


def test_groups_begin_at_once(up, tmp_path):
    started = up("--data", tmp_path)
    wanted = DescribeConfigsRequest.DescribeConfigsResource(
        resource_type=4, resource_name="1", configuration_keys=["group.initial.rebalance.delay.ms"]
    )
    with Client(started.bootstrap) as client:
        asked = client.cluster.call_any(lambda: DescribeConfigsRequest(resources=[wanted]), DescribeConfigsResponse)
        [[option]] = [one.configs for one in client.wait(asked).results]
    assert option.value == "0"
    assert started.end() == 0


@pytest.mark.slow
def test_a_started_broker_has_loaded_nothing_heavy(up, tmp_path):
    mapped = pathlib.Path(f"/proc/{up('--data', tmp_path).fields['pids']}/maps").read_text()
    assert "fastlog/_core" in mapped
    assert not [part for part in ("numpy", "cramjam", "_ssl", "libssl", "libcrypto", "unicodedata") if part in mapped]


def test_ctrl_c_stops_it_too(up, tmp_path):
    assert up("--data", tmp_path).end(signal.SIGINT) == 0


@pytest.mark.slow
def test_what_was_acknowledged_is_there_after_kill_9_and_a_restart(up, tmp_path, capfdbinary):
    source = tmp_path / "lines"
    source.write_bytes(b"".join(b"key%d:%x\n" % (number % 13, number**7) for number in range(30_000)))
    started = up("--data", tmp_path / "data", "-o", "num.partitions=3")
    assert run(["produce", "t", str(source), "--bootstrap", started.bootstrap]) == 0
    before = []
    for round_number in range(3):
        assert run(["consume", "t", "--exit-at-end", "--offsets", "--bootstrap", started.bootstrap]) == 0
        out = capfdbinary.readouterr().out
        before.append(sorted(out.splitlines()))
        assert started.end(signal.SIGKILL if round_number < 2 else signal.SIGTERM) == (-signal.SIGKILL if round_number < 2 else 0)
        if round_number < 2:
            started = up("--data", tmp_path / "data")
    assert before[0] == before[1] == before[2]
    assert sorted(line.partition(b"\t")[2] for line in before[0]) == sorted(source.read_bytes().splitlines())


def test_a_port_in_use(program, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(program, "up", "--port", port, "--data", tmp_path / "data")
    assert f"cannot listen on 127.0.0.1:{port}" in said and "choose another" in said


def test_an_address_of_another_machine(program, tmp_path):
    # Of a range that is kept for documentation, so nobody has it.
    said = refused(program, "up", "--host", "192.0.2.1", "--port", 0, "--data", tmp_path / "data")
    assert "cannot listen on 192.0.2.1:0" in said and said.endswith("choose an address of this machine\n")


def test_the_coordinators_port(program, up, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(program, "up", "--port", 0, "--coordinator-port", port, "--data", tmp_path / "data")
        assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "leave" in refused(program, "up", "--coordinator", "h:1", "--coordinator-port", 0, "--data", tmp_path / "data")
    started = up("--data", tmp_path / "data", "--coordinator-port", port)
    assert started.fields["coordinator"] == f"127.0.0.1:{port}"


def test_a_directory_that_another_broker_holds(program, up, tmp_path):
    up("--data", tmp_path)
    said = refused(program, "up", "--port", 0, "--data", tmp_path)
    assert str(tmp_path) in said and "another process" in said


def test_a_directory_that_cannot_be_written(program, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert "file" in refused(program, "up", "--port", 0, "--data", tmp_path / "file")
    assert str(tmp_path) in refused(program, "up", "--port", 0, "--data", tmp_path / "file/below")
    # Not even the superuser makes directories there.
    assert "/sys/fastlog" in refused(program, "up", "--port", 0, "--data", "/sys/fastlog")


def test_a_coordinator_that_is_not_there(program, tmp_path):
    options = ("-o", "zookeeper.connection.timeout.ms=300")
    code, out, err = program.finish(program("up", "--port", 0, "--data", tmp_path, "--coordinator", "127.0.0.1:1", *options))
    assert (code, out) == (2, b"")
    assert err.splitlines()[-1].startswith(b"fastlog: the coordinator at 127.0.0.1:1 cannot be reached (")
    assert not (tmp_path / "coordinator").exists()


def test_where_up_keeps_its_metadata_is_said_in_one_way(program, tmp_path):
    said = refused(program, "up", "--port", 0, "--data", tmp_path, "-o", "zookeeper.connect=127.0.0.1:1")
    assert "zookeeper.connect cannot be set here: use --coordinator" in said
    assert refused(program, "up", "--port", 0, "--data", tmp_path, "--coordinator", "zk").startswith(
        "fastlog: --coordinator wants HOST:PORT"
    )


def test_options_are_read_before_anything_is_written(program, tmp_path):
    said = refused(program, "up", "--port", 0, "--data", tmp_path / "data", "-o", "num.partitons=3")
    assert said == "fastlog: -o: unknown option 'num.partitons'; did you mean num.partitions?\n"
    assert not (tmp_path / "data").exists()


def test_a_broker_from_a_file(program, tmp_path, capfdbinary):
    file = tmp_path / "server.properties"
    file.write_text(f"node.id=4\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs={tmp_path}/logs\nnum.partitions=2\n")
    process = program("broker", "--config", file, "-o", "num.partitions=5")
    line = process.stdout.readline().decode()
    assert line.startswith("ready bootstrap=127.0.0.1:")
    bootstrap = line.split()[1].removeprefix("bootstrap=")
    assert run(["topic", "create", "t", "--bootstrap", bootstrap]) == 0
    assert run(["topic", "describe", "t", "--bootstrap", bootstrap]) == 0
    assert b"partitions=5 " in capfdbinary.readouterr().out
    assert (tmp_path / "logs/t-4").is_dir() and "broker.id=4" in (tmp_path / "logs/meta.properties").read_text()
    process.terminate()
    assert process.wait(timeout=60) == 0


def test_an_unknown_option_in_a_file(program, tmp_path):
    file = tmp_path / "server.properties"
    file.write_text("# mine\nnode.id=4\nnum.network.threads=3\n")
    said = refused(program, "broker", "--config", file)
    why = "one thread runs a broker: there is nothing to set"
    assert said == f"fastlog: {file}:3: num.network.threads is not honoured by fastlog: {why}; remove it\n"


def test_a_second_signal_ends_it_at_once(tmp_path):
    """The reactor is kept from coming to its stop, as a hanging disk would."""
    program = (
        "import os, signal, sys\n"
        "from fastlog.env.signals import on_stop_request\n"
        "on_stop_request(lambda stop: None, lambda: None)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('asked', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print('still here', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, timeout=60, cwd=pathlib.Path.cwd())
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, b"asked\n")
