from hypothesis import given
from hypothesis import strategies as st

from fastlog.coordinator.watches import EventType, Watches, WatchEvent, parent_of


class Recorder:
    def __init__(self, name):
        self.name = name

    def __call__(self, event):
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
