from hypothesis import given
from hypothesis import strategies as st

from fastlog.coordinator.watches import EventType, WatcherType, Watches, WatchEvent, parent_of


class Recorder:
    def __init__(self, name):
        self.name = name

    def __call__(self, event, zxid):
        raise AssertionError("the table only tells whom to call")

    def __repr__(self):
        return self.name


A, B = Recorder("A"), Recorder("B")


def test_creation_tells_exists_watchers_and_the_parents_children_watchers():
    watches = Watches()
    watches.watch_data("/t/new", A)
    watches.watch_children("/t", B)
    watches.watch_data("/t", B)
    fired = list(watches.fire(EventType.CREATED, "/t/new"))
    assert fired == [(A, WatchEvent(EventType.CREATED, "/t/new")), (B, WatchEvent(EventType.CHILDREN_CHANGED, "/t"))]
    assert list(watches.fire(EventType.CREATED, "/t/new")) == []
    assert len(watches) == 1


def test_deletion_tells_a_watcher_of_both_kinds_once():
    watches = Watches()
    watches.watch_data("/t", A)
    watches.watch_children("/t", A)
    watches.watch_children("/t", B)
    deleted = WatchEvent(EventType.DELETED, "/t")
    assert list(watches.fire(EventType.DELETED, "/t")) == [(A, deleted), (B, deleted)]
    assert len(watches) == 0


def test_changed_data_is_no_business_of_children_watchers():
    watches = Watches()
    watches.watch_children("/", A)
    watches.watch_children("/t", A)
    watches.watch_data("/t", B)
    assert list(watches.fire(EventType.DATA_CHANGED, "/t")) == [(B, WatchEvent(EventType.DATA_CHANGED, "/t"))]
    assert len(watches) == 2


def test_forgets_a_watcher_everywhere():
    watches = Watches()
    for path in ("/a", "/b"):
        for watcher in (A, B):
            watches.watch_data(path, watcher)
            watches.watch_children(path, watcher)
    watches.forget(lambda watcher: watcher is A)
    assert [watcher for watcher, _ in watches.fire(EventType.DELETED, "/a")] == [B]
    assert len(watches) == 2


def test_a_persistent_watch_hears_everything_at_its_znode_and_stays():
    watches = Watches()
    watches.watch_for_good("/t", A, recursive=False)
    watches.watch_data("/t", A)
    for _ in range(2):
        assert list(watches.fire(EventType.DATA_CHANGED, "/t")) == [(A, WatchEvent(EventType.DATA_CHANGED, "/t"))]
        assert list(watches.fire(EventType.CREATED, "/t/x")) == [(A, WatchEvent(EventType.CHILDREN_CHANGED, "/t"))]
        assert list(watches.fire(EventType.DATA_CHANGED, "/t/x")) == []
        assert list(watches.fire(EventType.DELETED, "/t")) == [(A, WatchEvent(EventType.DELETED, "/t"))]


def test_a_recursive_watch_hears_of_all_below_and_never_that_children_changed():
    watches = Watches()
    watches.watch_for_good("/t", A, recursive=True)
    watches.watch_data("/t/x/y", A)
    watches.watch_data("/t/x/y", B)
    event = WatchEvent(EventType.CREATED, "/t/x/y")
    assert list(watches.fire(EventType.CREATED, "/t/x/y")) == [(A, event), (B, event)]
    assert list(watches.fire(EventType.CREATED, "/t/x/y")) == [(A, event)]
    assert list(watches.fire(EventType.DELETED, "/t")) == [(A, WatchEvent(EventType.DELETED, "/t"))]
    assert list(watches.fire(EventType.CREATED, "/tx")) == []
    watches.watch_for_good("/", B, recursive=True)
    assert [watcher for watcher, _ in watches.fire(EventType.DATA_CHANGED, "/other")] == [B]


def test_removes_the_watches_of_one_kind():
    watches = Watches()
    watches.watch_data("/t", A)
    watches.watch_children("/t", A)
    watches.watch_for_good("/t", A, recursive=False)
    watches.watch_for_good("/t", A, recursive=True)
    watches.watch_data("/t", B)
    for kind in (WatcherType.CHILDREN, WatcherType.DATA, WatcherType.PERSISTENT, WatcherType.PERSISTENT_RECURSIVE):
        assert watches.has("/t", A, kind)
        assert watches.remove("/t", A, kind)
        assert not watches.has("/t", A, kind)
        assert not watches.remove("/t", A, kind)
    assert len(watches) == 1
    assert watches.remove("/t", B, WatcherType.ANY)
    assert (len(watches), watches.watcher_count, watches.path_count) == (0, 0, 0)
    assert not watches.remove("/t", B, WatcherType.ANY)


def test_a_dropped_watcher_hears_nothing_more():
    watches = Watches()
    for path in ("/t", "/t/x"):
        watches.watch_for_good(path, A, recursive=True)
        watches.watch_children(path, A)
        watches.watch_data(path, B)
    watches.drop(A)
    watches.drop(A)
    assert [watcher for watcher, _ in watches.fire(EventType.DELETED, "/t/x")] == [B]
    assert (watches.watcher_count, watches.path_count) == (1, 1)


@given(st.lists(st.tuples(st.sampled_from(["data", "children"]), st.sampled_from(["/", "/a", "/a/b"]), st.sampled_from([A, B]))))
def test_every_watch_fires_at_most_once(watched):
    watches = Watches()
    for kind, path, watcher in watched:
        (watches.watch_data if kind == "data" else watches.watch_children)(path, watcher)
    for path in ("/a/b", "/a", "/"):
        seen = [watcher for watcher, event in watches.fire(EventType.DELETED, path) if event.path == path]
        assert len(seen) == len(set(seen))
    assert len(watches) == 0


def test_parents():
    assert [parent_of(path) for path in ("/a/b/c", "/a", "/")] == ["/a/b", "/", "/"]
