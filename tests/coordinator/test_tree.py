import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastlog.coordinator import errors
from fastlog.coordinator.acl import OPEN_ACL, READ_ONLY_ACL, Entry, digest_identity
from fastlog.coordinator.tree import (
    BUILT_IN,
    NO_SESSION,
    Change,
    Check,
    CloseSession,
    Create,
    Created,
    Delete,
    OpenSession,
    Session,
    SetAcl,
    SetData,
    Stat,
    Transaction,
    Tree,
    check_path,
)
from fastlog.coordinator.watches import EventType

SESSION = 7


class Applier:
    def __init__(self):
        self.tree = Tree()
        self.time_ms = 100
        self.apply_request(OpenSession(SESSION, 1000), 0)

    def apply_request(self, request, session=SESSION, identities=None):
        self.time_ms += 1
        request = request if isinstance(request, OpenSession | CloseSession) else tuple(request)
        return self.tree.apply(Transaction(self.tree.zxid + 1, self.time_ms, session, request), identities)

    def __call__(self, *operations):
        return self.apply_request(operations)[0]


@pytest.fixture
def apply():
    return Applier()


def test_counts_versions_and_zxids_as_zookeeper_does(apply):
    # The numbers of ZooKeeper 3.8.4 for the same calls, with its zxids less 74.
    apply(Create("/t"))
    assert apply(Create("/t/s-", sequential=True))[0].path == "/t/s-0000000000"
    apply(Delete("/t/s-0000000000"))
    assert apply(Create("/t/s-", sequential=True))[0].path == "/t/s-0000000001"
    apply(Create("/t/x"))
    base = apply.tree.stat("/t").czxid
    assert apply.tree.stat("/t") == Stat(base, base, 102, 102, 0, 4, 0, 0, 0, 2, base + 4)
    created = apply(Create("/t/s-", ephemeral=True, sequential=True))[0]
    assert created == Created("/t/s-0000000003", Stat(base + 5, base + 5, 107, 107, 0, 0, 0, SESSION, 0, 0, base + 5))
    assert apply.tree.stat("/t") == Stat(base, base, 102, 102, 0, 5, 0, 0, 0, 3, base + 5)
    apply(Create("/t/new", b"1"), SetData("/t/new", b"2"), Delete("/t/x"), Create("/t/x"))
    assert apply.tree.get("/t/new") == (b"2", Stat(base + 6, base + 6, 108, 108, 1, 0, 0, 0, 1, 0, base + 6))
    assert apply.tree.stat("/t")[5:] == (8, 0, 0, 0, 4, base + 6)
    both = apply(Create("/t/q-", sequential=True), Create("/t/q-", sequential=True))
    assert [one.path for one in both] == ["/t/q-0000000006", "/t/q-0000000007"]


def test_absent_data_is_not_empty_data(apply):
    apply(Create("/absent", None), Create("/empty", b""))
    assert apply.tree.get("/absent")[0] is None
    assert apply.tree.get("/empty")[0] == b""


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (Create("/a/b/c"), errors.NoNode),
        (Create("/a"), errors.NodeExists),
        (Create("/"), errors.NodeExists),
        (Create("/e/child"), errors.NoChildrenForEphemerals),
        (Delete("/p"), errors.NotEmpty),
        (Delete("/nowhere"), errors.NoNode),
        (Delete("/a", 3), errors.BadVersion),
        (Delete("/"), errors.BadArguments),
        (SetData("/a", b"", 1), errors.BadVersion),
        (SetData("/nowhere", b""), errors.NoNode),
        (Check("/a", 1), errors.BadVersion),
        (Check("/nowhere"), errors.NoNode),
        (Create("no-slash"), errors.BadArguments),
    ],
)
def test_refuses_and_changes_nothing(apply, operation, error):
    apply(Create("/a"), Create("/e", ephemeral=True), Create("/p"), Create("/p/q"))
    before = dict(apply.tree.nodes), apply.tree.zxid
    with pytest.raises(error) as refusal:
        apply(operation)
    assert type(refusal.value) is error
    assert refusal.value.path == operation.path
    assert (dict(apply.tree.nodes), apply.tree.zxid) == before


def test_a_failed_multi_says_which_operation_failed_and_undoes_the_others(apply):
    apply(Create("/a", b"1"), Create("/a/b"))
    nodes = dict(apply.tree.nodes)
    operations = [SetData("/a", b"2"), Delete("/a/b"), Delete("/a"), Create("/c", ephemeral=True), Check("/a", 9), Create("/d")]
    with pytest.raises(errors.MultiFailed) as failed:
        apply(*operations)
    assert failed.value.index == 4
    assert isinstance(failed.value.error, errors.NoNode)
    assert errors.codes_of_failed_multi(failed.value, operations) == [0, 0, 0, 0, -101, -2]
    assert dict(apply.tree.nodes) == nodes
    assert apply.tree.children("/") == ["a", "zookeeper"]
    assert apply.tree.children("/a") == ["b"]
    apply.apply_request(CloseSession(SESSION), 0)  # no trace of the ephemeral that was undone


def test_a_session_takes_its_ephemerals_along(apply):
    apply.apply_request(OpenSession(8, 1000), 0)
    apply(Create("/p"), Create("/p/b", ephemeral=True), Create("/p/a", ephemeral=True), Create("/stays"))
    apply.apply_request([Create("/p/other", ephemeral=True)], 8)
    _, changes = apply.apply_request(CloseSession(SESSION), 0)
    assert changes == [Change(EventType.DELETED, "/p/a"), Change(EventType.DELETED, "/p/b")]
    assert apply.tree.children("/p") == ["other"]
    assert dict(apply.tree.sessions) == {8: Session(1000, b"")}
    with pytest.raises(errors.SessionExpired):
        apply(Create("/x"))
    with pytest.raises(errors.SessionExpired):
        apply.apply_request(CloseSession(SESSION), 0)


ANN, BOB = digest_identity(b"ann:1"), digest_identity(b"bob:1")
ONLY_ANN = (Entry(31, *ANN),)


def test_lists_have_versions_of_their_own(apply):
    apply(Create("/a"))
    stat = apply(SetAcl("/a", READ_ONLY_ACL, 0))[0]
    assert (stat.version, stat.aversion, stat.mzxid) == (0, 1, stat.czxid)
    assert apply.tree.acl("/a") == READ_ONLY_ACL
    with pytest.raises(errors.BadVersion):
        apply(SetAcl("/a", ONLY_ANN, 0))
    with pytest.raises(errors.InvalidACL):
        apply(SetAcl("/a", ()))
    with pytest.raises(errors.InvalidACL):
        apply(Create("/nowhere/b", acl=()))
    with pytest.raises(errors.NoNode):
        apply(SetAcl("/b", ONLY_ANN))


@pytest.mark.parametrize(
    "operation",
    [
        Create("/a/b"),
        Create("/a/child"),
        Delete("/a/child", 9),
        SetData("/a", b"", 9),
        SetAcl("/a", ONLY_ANN, 9),
        Delete("/a/not-there"),
        Check("/a", 9),
    ],
)
def test_permission_comes_before_versions_and_existence(apply, operation):
    apply(Create("/a", acl=ONLY_ANN), Create("/a/child"))
    for identities, error in (([BOB], errors.NoAuth), ([BOB, ANN], errors.CoordinatorError), (None, errors.CoordinatorError)):
        nodes = dict(apply.tree.nodes)
        try:
            apply.apply_request([operation], identities=identities)
        except error as refusal:
            assert (type(refusal) is errors.NoAuth) is (identities == [BOB])
            assert dict(apply.tree.nodes) == nodes
        else:
            assert operation == Create("/a/b") and identities == [BOB, ANN]


def test_in_a_multi_later_operations_see_lists_that_earlier_ones_made(apply):
    operations = [Create("/a", acl=ONLY_ANN), SetData("/a", b"x")]
    with pytest.raises(errors.MultiFailed) as failed:
        apply.apply_request(operations, identities=[BOB])
    assert (failed.value.index, type(failed.value.error)) == (1, errors.NoAuth)
    apply.apply_request(operations, identities=[ANN])


def test_changes_say_who_may_hear_of_them(apply):
    apply(Create("/a", acl=ONLY_ANN))
    _, changes = apply.apply_request([Create("/a/b", acl=READ_ONLY_ACL), Delete("/a/b"), SetData("/a", b"")])
    assert changes == [
        Change(EventType.CREATED, "/a/b", READ_ONLY_ACL, ONLY_ANN),
        Change(EventType.DELETED, "/a/b", READ_ONLY_ACL, ONLY_ANN),
        Change(EventType.DATA_CHANGED, "/a", ONLY_ANN),
    ]


def reapable(tree, now_ms):
    return [path for path in tree.reaped_kinds if tree.is_reapable(path, now_ms)]


def test_containers_and_times_to_live(apply):
    stat = apply(Create("/c", container=True))[0].stat
    assert stat.ephemeral_owner == NO_SESSION, "what is stored there is nobody's session"
    stat = apply(Create("/t", ttl_ms=1000))[0].stat
    assert stat.ephemeral_owner == NO_SESSION
    born_ms = stat.mtime_ms
    assert reapable(apply.tree, born_ms + 1000) == []
    assert reapable(apply.tree, born_ms + 1001) == ["/t"]
    apply(Create("/c/x"), Create("/t/x"))
    assert reapable(apply.tree, born_ms + 2000) == []
    apply(Delete("/c/x"), Delete("/t/x"))
    assert reapable(apply.tree, born_ms) == ["/c"]
    assert reapable(apply.tree, born_ms + 2000) == ["/c", "/t"]
    apply(SetData("/t", b""))
    assert reapable(apply.tree, born_ms + 1001) == ["/c"]
    apply.apply_request([Delete("/c")], 0)
    apply(Delete("/t"))
    assert not apply.tree.has_reaped_kinds
    assert not apply.tree.is_reapable("/t", born_ms + 2000) and not apply.tree.is_reapable("/", born_ms + 2000)
    for ttl_ms in (-1, (1 << 40)):
        with pytest.raises(errors.BadArguments):
            apply(Create("/t", ttl_ms=ttl_ms))


def test_what_is_there_from_the_beginning_stays(apply):
    assert apply.tree.children("/") == ["zookeeper"]
    assert apply.tree.children("/zookeeper") == ["config", "quota"]
    assert (apply.tree.stat("/").cversion, apply.tree.stat("/zookeeper").cversion) == (-1, -2)  # ZooKeeper's numbers
    for path in BUILT_IN:
        with pytest.raises(errors.BadArguments):
            apply(Delete(path))
    with pytest.raises(errors.NoAuth):
        apply.apply_request([SetData("/zookeeper/config", b"")], identities=[ANN])


def test_counts_everything_below(apply):
    apply(Create("/a"), Create("/a/b"), Create("/a/b/c"), Create("/a/d"), Create("/ab"))
    assert [apply.tree.count_below(path) for path in ("/a", "/a/b", "/a/d", "/")] == [3, 1, 0, 8]
    with pytest.raises(errors.NoNode):
        apply.tree.count_below("/x")


def test_lists_a_sessions_ephemerals(apply):
    apply(Create("/b", ephemeral=True), Create("/a", ephemeral=True), Create("/c"))
    assert apply.tree.ephemerals(SESSION) == ["/a", "/b"]
    assert apply.tree.ephemerals(8) == []


@pytest.mark.parametrize(
    "path", ["", "a", "/a/", "//a", "/a//b", "/.", "/a/..", "/a/./b", "/a\x00", "/a\x1f", "/\x7f", "/\ud800", "/\ufff0"]
)
def test_paths_that_are_none(path):
    with pytest.raises(errors.BadArguments):
        check_path(path)


@pytest.mark.parametrize("path", ["/", "/a", "/a/b-c_d.e", "/...", "/ü", "/a b"])
def test_paths(path):
    check_path(path)


def test_a_path_that_is_none_is_looked_for_by_those_who_do_not_make_it(apply):
    for operation in (Delete("/a//b"), Delete("/a/"), Create("/a//b"), Create("/no/../b")):
        with pytest.raises(errors.NoNode):
            apply(operation)
    for operation in (Delete("a"), Delete("/a\0"), Create("a"), Create("/a\0"), SetData("/a//b", b"")):
        with pytest.raises(errors.BadArguments):
            apply(operation)


def test_a_sequential_path_may_end_in_a_slash(apply):
    apply(Create("/a"))
    assert apply(Create("/a/", sequential=True))[0].path == "/a/0000000000"


def test_restores_what_a_snapshot_holds(apply):
    apply(Create("/a", b"1"), Create("/a/b", ephemeral=True), Create("/a-c", None))
    tree = apply.tree
    copy = Tree.restore(tree.zxid, sorted(tree.nodes.items()), tree.sessions)
    assert copy.nodes == tree.nodes
    assert copy.children("/a") == ["b"]
    zxid = tree.zxid + 1
    close = Transaction(zxid, 1, 0, CloseSession(SESSION))
    assert copy.apply(close) == tree.apply(close)
    assert copy.nodes == tree.nodes
    with pytest.raises(ValueError, match="without its parent"):
        Tree.restore(1, [("/", tree.nodes["/"]), ("/x/y", tree.nodes["/a"])], {})


# ---- against a plain model ----

PATHS = ["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1", "/a/x/2"]
VERSIONS = st.sampled_from([-1, -1, -1, 0, 1, 2])
PATH = st.sampled_from(PATHS)
OPERATIONS = st.one_of(
    st.builds(
        Create,
        PATH,
        st.sampled_from([None, b"", b"data"]),
        st.booleans(),
        st.booleans(),
        acl=st.just(OPEN_ACL),
        container=st.just(False),
        ttl_ms=st.just(0),
    ),
    st.builds(Delete, PATH, VERSIONS),
    st.builds(SetData, PATH, st.binary(max_size=2), VERSIONS),
    st.builds(Check, PATH, VERSIONS),
)


class Model:
    """path -> [data, version, owner], and how many children a path ever had. Copied whole before each transaction."""

    def __init__(self):
        self.nodes = {path: [b"", 0, 0] for path in BUILT_IN}
        self.created = dict.fromkeys(BUILT_IN, 0)
        self.sessions = []

    def copy(self):
        other = Model()
        other.nodes = {path: list(node) for path, node in self.nodes.items()}
        other.created = dict(self.created)
        other.sessions = list(self.sessions)
        return other

    def children(self, path):
        prefix = path.rstrip("/") + "/"
        return sorted(
            one[len(prefix) :] for one in self.nodes if one != "/" and one.startswith(prefix) and "/" not in one[len(prefix) :]
        )

    def carry_out(self, operation, session):
        """Return the name of the error, or None and change the model."""
        if isinstance(operation, Create):
            parent = operation.path.rpartition("/")[0] or "/"
            if parent not in self.nodes:
                return "NoNode"
            path = operation.path + (f"{self.created[parent]:010d}" if operation.sequential else "")
            if path in self.nodes:
                return "NodeExists"
            if self.nodes[parent][2]:
                return "NoChildrenForEphemerals"
            self.nodes[path] = [operation.data, 0, session if operation.ephemeral else 0]
            self.created[path] = 0
            self.created[parent] += 1
            return None
        node = self.nodes.get(operation.path)
        if node is None:
            return "NoNode"
        if operation.version not in (-1, node[1]):
            return "BadVersion"
        if isinstance(operation, Delete):
            if self.children(operation.path):
                return "NotEmpty"
            del self.nodes[operation.path], self.created[operation.path]
        elif isinstance(operation, SetData):
            node[0], node[1] = operation.data, node[1] + 1
        return None


class TreeMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.tree, self.model = Tree(), Model()
        self.replayed = []

    def apply(self, session, request):
        transaction = Transaction(self.tree.zxid + 1, 1000 + self.tree.zxid, session, request)
        result = self.tree.apply(transaction)
        self.replayed.append(transaction)
        return result

    @rule(session=st.integers(1, 3))
    def open_session(self, session):
        if session not in self.model.sessions:
            self.apply(0, OpenSession(session, 10))
            self.model.sessions.append(session)

    @rule(session=st.integers(1, 3))
    def close_session(self, session):
        if session in self.model.sessions:
            _, changes = self.apply(0, CloseSession(session))
            gone = sorted(path for path, node in self.model.nodes.items() if node[2] == session)
            assert changes == [Change(EventType.DELETED, path) for path in gone]
            for path in gone:
                del self.model.nodes[path], self.model.created[path]
            self.model.sessions.remove(session)

    @rule(session=st.integers(1, 3), operations=st.lists(OPERATIONS, min_size=1, max_size=5))
    def multi(self, session, operations):
        if session not in self.model.sessions:
            with pytest.raises(errors.SessionExpired):
                self.apply(session, tuple(operations))
            return
        after = self.model.copy()
        expected = next(
            ((index, error) for index, one in enumerate(operations) if (error := after.carry_out(one, session)) is not None), None
        )
        try:
            results, changes = self.apply(session, tuple(operations))
        except errors.MultiFailed as failed:
            assert (failed.index, type(failed.error).__name__) == expected
        except errors.CoordinatorError as error:
            assert (0, type(error).__name__) == expected
        else:
            assert expected is None
            assert len(results) == len(operations)
            assert len(changes) == sum(not isinstance(one, Check) for one in operations)
            self.model = after

    @invariant()
    def equal(self):
        nodes = {path: [node.data, node.version, node.ephemeral_owner] for path, node in self.tree.nodes.items()}
        assert nodes == self.model.nodes
        for path in self.model.nodes:
            stat, children = self.tree.stat(path), self.tree.children(path)
            assert children == self.model.children(path)
            assert (stat.num_children, stat.cversion) == (len(children), 2 * self.model.created[path] - len(children))
            assert stat.czxid <= stat.mzxid <= self.tree.zxid
            assert stat.czxid <= stat.pzxid <= self.tree.zxid

    def teardown(self):
        again = Tree()
        for transaction in getattr(self, "replayed", []):
            again.apply(transaction)
        if hasattr(self, "tree"):
            assert again.nodes == self.tree.nodes
            assert again.sessions == self.tree.sessions


TreeMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTreeAgainstModel = TreeMachine.TestCase
