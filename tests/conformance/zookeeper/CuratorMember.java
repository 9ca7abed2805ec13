import java.nio.charset.StandardCharsets;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;

/** A process that takes part in one of Curator's recipes, until its input ends. */
public class CuratorMember {
    /** A leader that is killed leads for so long: long enough that a busy machine ends no other session. */
    private static final int LATCH_SESSION_MS = 5_000;
    private static final int LOCK_SESSION_MS = 20_000;
    private static final int CONNECTION_MS = 30_000;

    /** Say when it leads. */
    private static void latch(CuratorFramework client, String id) throws Exception {
        LeaderLatch latch = new LeaderLatch(client, "/latch", id);
        latch.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {
                System.out.println("leads");
            }

            @Override
            public void notLeader() {
                System.out.println("does not lead");
            }
        });
        latch.start();
        System.out.println("waits");
        while (System.in.read() != -1) {
            System.out.println("leader is " + latch.getLeader().getId() + " of " + latch.getParticipants().size());
        }
        latch.close(LeaderLatch.CloseMode.NOTIFY_LEADER);
    }

    /** Count in a znode that nobody else may touch meanwhile: reading and writing are two steps, without a version. */
    private static void lock(CuratorFramework client, String id, int rounds) throws Exception {
        InterProcessMutex mutex = new InterProcessMutex(client, "/lock");
        for (int round = 0; round < rounds; round++) {
            mutex.acquire();
            try {
                client.create().withMode(CreateMode.EPHEMERAL).forPath("/inside", id.getBytes(StandardCharsets.UTF_8));
                int count = Integer.parseInt(new String(client.getData().forPath("/count"), StandardCharsets.UTF_8));
                client.setData().forPath("/count", String.valueOf(count + 1).getBytes(StandardCharsets.UTF_8));
                client.delete().forPath("/inside");
            } finally {
                mutex.release();
            }
        }
        System.out.println("counted " + rounds);
    }

    public static void main(String[] arguments) throws Exception {
        boolean isLatch = arguments[0].equals("latch");
        int sessionMs = isLatch ? LATCH_SESSION_MS : LOCK_SESSION_MS;
        CuratorFramework client = CuratorFrameworkFactory.newClient(arguments[1], sessionMs, CONNECTION_MS, new RetryForever(100));
        client.start();
        client.blockUntilConnected();
        if (isLatch) {
            latch(client, arguments[2]);
        } else {
            lock(client, arguments[2], Integer.parseInt(arguments[3]));
        }
        client.close();
        System.exit(0);
    }
}
