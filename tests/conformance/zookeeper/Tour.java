import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Testable;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * All that ZooKeeper's own client can ask, one thing after another; what comes back is printed, without times and with zxids and
 * session ids only as they stand to each other, so that two servers can be compared line by line.
 */
public class Tour {
    private static final int TIMEOUT_MS = 10_000;
    private static final int WAIT_S = 60;

    /** One session. Its default watcher keeps the events of the session apart from those of znodes. */
    private static class Session extends ZooKeeper {
        final Events events;

        private Session(String address, int timeoutMs, Events events, long id, byte[] password) throws Exception {
            super(address, timeoutMs, events, id, password, false);
            this.events = events;
        }

        private Session(String address, int timeoutMs, Events events, boolean canBeReadOnly) throws Exception {
            super(address, timeoutMs, events, canBeReadOnly);
            this.events = events;
        }

        static Session open(String address, int timeoutMs) throws Exception {
            Session opened = new Session(address, timeoutMs, new Events(), false);
            opened.events.await("SyncConnected");
            return opened;
        }

        static Session openReadOnly(String address) throws Exception {
            Session opened = new Session(address, TIMEOUT_MS, new Events(), true);
            opened.events.await("SyncConnected");
            return opened;
        }

        /** Attach to a session from another connection. */
        static Session attach(String address, long id, byte[] password) throws Exception {
            return new Session(address, TIMEOUT_MS, new Events(), id, password);
        }

        Testable testable() {
            return getTestable();
        }
    }

    /** What watchers were told, in its order. */
    private static class Events implements Watcher {
        private final BlockingQueue<String> states = new LinkedBlockingQueue<>();
        private final BlockingQueue<String> znodes = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            if (event.getType() == Event.EventType.None) {
                states.add(event.getState().name());
            } else {
                znodes.add(event.getType() + " " + event.getPath());
            }
        }

        /** Wait until the session is in a state, whatever comes before it. */
        void await(String state) throws Exception {
            String seen;
            do {
                seen = states.poll(WAIT_S, TimeUnit.SECONDS);
                if (seen == null) {
                    throw new IllegalStateException("never " + state);
                }
            } while (!seen.equals(state));
        }

        /** Print the next events of znodes. */
        void print(int count) throws Exception {
            for (int index = 0; index < count; index++) {
                say("  event " + znodes.poll(WAIT_S, TimeUnit.SECONDS));
            }
        }

        /** Print that there are no more events, once everything before has come. */
        void printEnd(ZooKeeper session) throws Exception {
            session.exists("/", false);
            CountDownLatch passed = new CountDownLatch(1);
            // The client hands events and answers to callbacks in one queue: behind this one there is none left.
            session.exists("/", false, (AsyncCallback.StatCallback) (code, path, context, stat) -> passed.countDown(), null);
            passed.await();
            say("  events left: " + znodes);
        }
    }

    private interface Ask {
        Object now() throws Exception;
    }

    private final String address;
    private final Session one;
    private final Session other;
    private final List<Long> zxids = new ArrayList<>();

    private Tour(String address) throws Exception {
        this.address = address;
        this.one = Session.open(address, TIMEOUT_MS);
        this.other = Session.open(address, TIMEOUT_MS);
    }

    private static void say(String line) {
        System.out.println(line);
    }

    /** Print what something brings, a result or a refusal. */
    private void show(String name, Ask ask) throws Exception {
        try {
            say(name + ": " + shown(ask.now()));
        } catch (KeeperException error) {
            String results = error.getResults() == null ? "" : " " + shown(error.getResults());
            say(name + ": " + error.code() + " " + error.getPath() + results);
        } catch (IllegalArgumentException error) {
            say(name + ": IllegalArgumentException");
        }
    }

    private String shown(Object value) {
        if (value instanceof byte[]) {
            return "'" + new String((byte[]) value, StandardCharsets.UTF_8) + "'";
        }
        if (value instanceof Stat) {
            return shown((Stat) value);
        }
        if (value instanceof OpResult) {
            return shown((OpResult) value);
        }
        if (value instanceof List) {
            List<String> parts = new ArrayList<>();
            for (Object part : (List<?>) value) {
                parts.add(shown(part));
            }
            if (!parts.isEmpty() && ((List<?>) value).get(0) instanceof ClientInfo) {
                Collections.sort(parts);
            }
            return parts.toString();
        }
        if (value instanceof ACL) {
            ACL entry = (ACL) value;
            return entry.getId().getScheme() + ":" + entry.getId().getId() + ":" + entry.getPerms();
        }
        if (value instanceof ClientInfo) {
            return ((ClientInfo) value).getAuthScheme() + ":" + ((ClientInfo) value).getUser();
        }
        return String.valueOf(value);
    }

    private String shown(Stat stat) {
        String owner = stat.getEphemeralOwner() == one.getSessionId() ? "one"
            : stat.getEphemeralOwner() == other.getSessionId() ? "other" : String.valueOf(stat.getEphemeralOwner());
        return "v" + stat.getVersion() + "," + stat.getCversion() + "," + stat.getAversion() + " owner=" + owner + " data="
            + stat.getDataLength() + " children=" + stat.getNumChildren() + " c<=m:" + (stat.getCzxid() <= stat.getMzxid())
            + " m?p:" + Long.compare(stat.getMzxid(), stat.getPzxid()) + " times:" + (stat.getCtime() > 0 && stat.getMtime() >= stat.getCtime());
    }

    private String shown(OpResult result) {
        if (result instanceof OpResult.CreateResult) {
            OpResult.CreateResult made = (OpResult.CreateResult) result;
            return made.getPath() + (made.getStat() == null ? "" : " " + shown(made.getStat()));
        }
        if (result instanceof OpResult.SetDataResult) {
            return shown(((OpResult.SetDataResult) result).getStat());
        }
        if (result instanceof OpResult.GetDataResult) {
            return shown(((OpResult.GetDataResult) result).getData()) + " " + shown(((OpResult.GetDataResult) result).getStat());
        }
        if (result instanceof OpResult.GetChildrenResult) {
            return new TreeSet<>(((OpResult.GetChildrenResult) result).getChildren()).toString();
        }
        if (result instanceof OpResult.ErrorResult) {
            return KeeperException.Code.get(((OpResult.ErrorResult) result).getErr()).name();
        }
        return result.getClass().getSimpleName();
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static List<String> sorted(List<String> names) {
        Collections.sort(names);
        return names;
    }

    private String create(String path, CreateMode mode) throws Exception {
        return one.create(path, bytes("x"), Ids.OPEN_ACL_UNSAFE, mode);
    }

    // ---- what there is to see ----

    private void znodes() throws Exception {
        say("== znodes");
        Stat stat = new Stat();
        show("create", () -> one.create("/a", bytes("data"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, stat));
        say("stat: " + shown(stat));
        for (CreateMode mode : CreateMode.values()) {
            long ttlMs = mode.isTTL() ? 3_600_000 : -1;
            Stat made = new Stat();
            show("create " + mode, () -> one.create("/a/" + mode + "-", null, Ids.OPEN_ACL_UNSAFE, mode, made, ttlMs));
            say("stat: " + shown(made));
        }
        show("children", () -> sorted(one.getChildren("/a", false)));
        Stat ofParent = new Stat();
        show("children with stat", () -> one.getChildren("/a", false, ofParent).size() + " " + shown(ofParent));
        show("number of all", () -> one.getAllChildrenNumber("/a"));
        show("ephemerals", () -> sorted(one.getEphemerals()));
        show("ephemerals below", () -> sorted(one.getEphemerals("/b")));
        show("other's ephemerals", () -> other.getEphemerals());
        show("get", () -> one.getData("/a", false, null));
        show("get none", () -> one.getData("/a/CONTAINER-", false, null));
        show("set", () -> one.setData("/a", bytes("more"), 0));
        show("set empty", () -> one.setData("/a", new byte[0], -1));
        show("exists", () -> one.exists("/a", false));
        show("exists not", () -> one.exists("/b", false));
        show("node exists", () -> create("/a", CreateMode.PERSISTENT));
        show("no node", () -> create("/b/c", CreateMode.PERSISTENT));
        show("child of an ephemeral", () -> create("/a/EPHEMERAL-/x", CreateMode.PERSISTENT));
        show("bad version", () -> one.setData("/a", bytes(""), 7));
        show("not empty", () -> deleted("/a", -1));
        show("delete, bad version", () -> deleted("/a/PERSISTENT-", 3));
        show("delete", () -> deleted("/a/PERSISTENT-", 0));
        show("delete again", () -> deleted("/a/PERSISTENT-", 0));
        show("root stays", () -> deleted("/zookeeper", -1));
        show("a path that is none", () -> create("a", CreateMode.PERSISTENT));
        show("an absent list", () -> one.create("/n", null, Collections.emptyList(), CreateMode.PERSISTENT));
        show("configuration", () -> one.getConfig(false, null));
        BlockingQueue<String> synced = new LinkedBlockingQueue<>();
        other.sync("/a", (code, path, context) -> synced.add(code + " " + path), null);
        say("sync: " + synced.poll(WAIT_S, TimeUnit.SECONDS));
        show("who", () -> one.whoAmI());
        Session readOnly = Session.openReadOnly(address);
        say("may be read only, is " + readOnly.getState() + ", timeout " + readOnly.getSessionTimeout());
        readOnly.close();
    }

    private Object deleted(String path, int version) throws Exception {
        one.delete(path, version);
        return "ok";
    }

    private void multi() throws Exception {
        say("== multi");
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        show("all", () -> one.multi(Arrays.asList(
            Op.create("/m", bytes("1"), open, CreateMode.PERSISTENT), Op.setData("/m", bytes("2"), 0), Op.check("/m", 1),
            Op.create("/m/e", null, open, CreateMode.EPHEMERAL), Op.create("/m/s-", null, open, CreateMode.PERSISTENT_SEQUENTIAL),
            Op.create("/m/c", null, open, CreateMode.CONTAINER), Op.delete("/m/e", 0))));
        show("with a time to live", () -> one.multi(Collections.singletonList(
            Op.create("/m/t", null, open, CreateMode.PERSISTENT_WITH_TTL, 3_600_000))));
        show("none", () -> one.multi(Arrays.asList(
            Op.create("/n", null, open, CreateMode.PERSISTENT), Op.check("/m", 7), Op.delete("/m", -1))));
        show("nothing of it", () -> one.exists("/n", false));
        show("empty", () -> one.multi(Collections.emptyList()));
        show("questions", () -> one.multi(Arrays.asList(
            Op.getData("/m"), Op.getChildren("/m"), Op.getData("/no"), Op.getChildren("/no"))));
        show("transaction", () -> one.transaction().create("/tx", bytes("1"), open, CreateMode.PERSISTENT).setData("/tx", bytes("2"), 0)
            .check("/tx", 1).delete("/tx", 1).commit());
    }

    private void watches() throws Exception {
        say("== watches");
        Events once = new Events();
        create("/w", CreateMode.PERSISTENT);
        other.getData("/w", once, null);
        other.getChildren("/w", once);
        other.exists("/w/x", once);
        create("/w/x", CreateMode.PERSISTENT);
        one.setData("/w", bytes("1"), -1);
        one.setData("/w", bytes("2"), -1);
        once.print(3);
        other.getData("/w/x", once, null);
        other.getChildren("/w/x", once);
        deleted("/w/x", -1);
        once.print(1);
        once.printEnd(other);

        Events forGood = new Events();
        other.addWatch("/w", forGood, AddWatchMode.PERSISTENT);
        for (int round = 0; round < 2; round++) {
            one.setData("/w", bytes("3"), -1);
            create("/w/y", CreateMode.PERSISTENT);
            deleted("/w/y", -1);
        }
        forGood.print(6);
        Events recursive = new Events();
        other.addWatch("/w", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        create("/w/y", CreateMode.PERSISTENT);
        create("/w/y/z", CreateMode.PERSISTENT);
        one.setData("/w/y/z", bytes("4"), -1);
        deleted("/w/y/z", -1);
        recursive.print(4);
        recursive.printEnd(other);
        forGood.print(1);
        forGood.printEnd(other);

        show("remove", () -> removed(forGood, Watcher.WatcherType.Any));
        show("remove again", () -> removed(forGood, Watcher.WatcherType.Any));
        one.setData("/w", bytes("5"), -1);
        recursive.print(1);
        show("remove all", () -> {
            other.removeAllWatches("/w", Watcher.WatcherType.Any, false);
            return "ok";
        });
        one.setData("/w", bytes("6"), -1);
        recursive.print(1);  // that it is removed
        recursive.printEnd(other);
        forGood.print(1);
        forGood.printEnd(other);
        once.printEnd(other);
        Events ofChildren = new Events();
        other.getChildren("/w", ofChildren);
        other.getData("/w", ofChildren, null);
        other.removeAllWatches("/w", Watcher.WatcherType.Children, false);
        create("/w/q", CreateMode.PERSISTENT);
        one.setData("/w", bytes("7"), -1);
        ofChildren.print(2);
        ofChildren.printEnd(other);
    }

    private Object removed(Watcher watcher, Watcher.WatcherType type) throws Exception {
        other.removeWatches("/w", watcher, type, false);
        return "ok";
    }

    private void lists() throws Exception {
        say("== access control lists");
        one.addAuthInfo("digest", bytes("ann:secret"));
        show("who", () -> one.whoAmI());
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        show("creator's", () -> one.create("/acl", bytes("x"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        show("its list", () -> one.getACL("/acl", null));
        show("other reads", () -> other.getData("/acl", false, null));
        show("other writes", () -> other.setData("/acl", null, -1));
        show("other creates", () -> other.create("/acl/x", null, open, CreateMode.PERSISTENT));
        show("other's list", () -> other.getACL("/acl", null));
        show("other sees", () -> other.exists("/acl", false));
        List<ACL> mixed = Arrays.asList(
            new ACL(Perms.ALL, new Id("auth", "")), new ACL(Perms.READ | Perms.CREATE, Ids.ANYONE_ID_UNSAFE));
        show("set", () -> one.setACL("/acl", mixed, 0));
        show("set, bad version", () -> one.setACL("/acl", mixed, 0));
        show("other reads", () -> other.getData("/acl", false, null));
        show("other's list", () -> other.getACL("/acl", null));
        show("other creates", () -> other.create("/acl/x", null, open, CreateMode.PERSISTENT));
        show("other deletes", () -> {
            other.delete("/acl/x", -1);
            return "ok";
        });
        other.addAuthInfo("digest", bytes("ann:secret"));
        show("as ann", () -> other.setData("/acl", bytes("y"), -1));
        show("by address", () -> one.create("/ip", null, Arrays.asList(new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8"))), CreateMode.PERSISTENT));
        show("other reads", () -> other.getData("/ip", false, null));
        show("elsewhere", () -> one.create("/far", null, Arrays.asList(new ACL(Perms.ALL, new Id("ip", "10.0.0.0/8"))), CreateMode.PERSISTENT));
        show("refused", () -> other.getData("/far", false, null));
        show("nobody", () -> one.create("/bad", null, Arrays.asList(new ACL(Perms.ALL, new Id("strange", "x"))), CreateMode.PERSISTENT));
        show("unauthenticated", () -> {
            try (Session third = Session.open(address, TIMEOUT_MS)) {
                return third.create("/bad", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            }
        });
        Session strange = Session.open(address, TIMEOUT_MS);
        strange.addAuthInfo("strange", bytes("x"));
        strange.events.await("AuthFailed");
        say("a strange scheme: " + strange.getState());
        strange.close();
    }

    private void lifetimes() throws Exception {
        say("== lifetimes");
        Events gone = new Events();
        one.create("/box", null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER);
        create("/box/x", CreateMode.PERSISTENT);
        other.exists("/box", gone);
        deleted("/box/x", -1);
        gone.print(1);
        one.create("/brief", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 300);
        if (other.exists("/brief", gone) != null) {
            gone.print(1);
        } else {
            say("  event NodeDeleted /brief");
        }
        show("too long", () -> one.create("/l", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 1L << 40));
        show("too short", () -> one.create("/l", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, new Stat(), 0));
    }

    private void sessions() throws Exception {
        say("== sessions");
        Session third = Session.open(address, TIMEOUT_MS);
        say("timeouts: " + third.getSessionTimeout());
        third.create("/mine", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events lasting = new Events();
        for (String path : new String[] {"/s1", "/s2", "/s3"}) {
            create(path, CreateMode.PERSISTENT);
        }
        third.getData("/s1", lasting, null);
        third.getChildren("/s2", lasting);
        third.exists("/s4", lasting);
        third.addWatch("/s3", lasting, AddWatchMode.PERSISTENT_RECURSIVE);
        long before = third.getSessionId();
        third.testable().closeSocket();
        third.events.await("Disconnected");
        third.events.await("SyncConnected");
        say("the same session after a lost connection: " + (third.getSessionId() == before));
        third.exists("/", false);
        one.setData("/s1", bytes("1"), -1);
        create("/s2/x", CreateMode.PERSISTENT);
        create("/s3/x", CreateMode.PERSISTENT);
        create("/s4", CreateMode.PERSISTENT);
        lasting.print(4);
        lasting.printEnd(third);
        show("an ephemeral outlives its connection", () -> other.exists("/mine", false) != null);

        Events end = new Events();
        other.exists("/mine", end);
        // Two clients have the session now, and each takes it from the other when it connects again, until one could close it.
        boolean attached = true;
        do {
            Session taker = Session.attach(address, before, third.getSessionPasswd());
            taker.events.await("SyncConnected");
            attached &= taker.getSessionId() == before;
            taker.close();
        } while (other.exists("/mine", false) != null);
        say("attached: " + attached);
        end.print(1);
        third.events.await("Expired");
        say("closed by another: " + third.getState());
        show("after it", () -> third.exists("/", false));
        Session stranger = Session.attach(address, one.getSessionId(), new byte[16]);
        stranger.events.await("Expired");
        say("with a wrong password: " + stranger.getState());
        Session nobody = Session.attach(address, 42, new byte[16]);
        nobody.events.await("Expired");
        say("of nobody: " + nobody.getState());
        // A real ZooKeeper closes the connection of a session to which a stranger wants to attach; it is made anew.
        show("its owner goes on", () -> {
            while (true) {
                try {
                    return one.exists("/", false) != null;
                } catch (KeeperException.ConnectionLossException error) {
                    Thread.sleep(10);
                }
            }
        });
    }

    private void limits() throws Exception {
        say("== limits");
        show("just fits", () -> one.create("/big", new byte[0xFFFFF - 100], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        Session third = Session.open(address, TIMEOUT_MS);
        show("too large", () -> third.create("/bigger", new byte[0xFFFFF + 1], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        third.close();
        show("and is not there", () -> one.exists("/bigger", false));
    }

    /** Hold an ephemeral znode with a short session, and say when the session is over. */
    private static void hold(String address, String path) throws Exception {
        Session held = Session.open(address, 2000);
        held.create(path, null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        say("held");
        held.events.await("Expired");
        say("expired");
        held.close();
    }

    /** Wait until a znode is gone. */
    private static void await(String address, String path) throws Exception {
        Session waiting = Session.open(address, TIMEOUT_MS);
        Events gone = new Events();
        if (waiting.exists(path, gone) != null) {
            say("there");
            gone.print(1);
        }
        waiting.close();
    }

    public static void main(String[] arguments) throws Exception {
        String address = arguments[1];
        switch (arguments[0]) {
            case "hold":
                hold(address, arguments[2]);
                break;
            case "await":
                await(address, arguments[2]);
                break;
            default:
                Tour tour = new Tour(address);
                tour.znodes();
                tour.multi();
                tour.watches();
                tour.lifetimes();
                tour.sessions();
                tour.limits();
                tour.lists();
                tour.one.close();
                tour.other.close();
        }
        System.exit(0);
    }
}
