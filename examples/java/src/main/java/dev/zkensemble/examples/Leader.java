package dev.zkensemble.examples;

import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.retry.RetryForever;

/**
 * Leader election: of all instances one leads; when it dies or is cut off another does.
 *
 * <p>The leader steps down when it loses its connection, not when it hears that its session is over: by then another
 * one leads. LeaderLatch calls {@code notLeader} in time, and makes this instance a candidate again.
 */
public final class Leader {
    private static final String ELECTION = "/examples/leader";
    /** For so long nobody leads after a leader died. */
    private static final int SESSION_TIMEOUT_MS = 6_000;
    private static final int CONNECTION_TIMEOUT_MS = 3_000;
    private static final int RETRY_INTERVAL_MS = 500;

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("give the servers and a name: Leader 127.0.0.1:2181 a");
            System.exit(1);
        }
        String name = arguments[1];
        CuratorFramework client = CuratorFrameworkFactory.newClient(
                arguments[0], SESSION_TIMEOUT_MS, CONNECTION_TIMEOUT_MS, new RetryForever(RETRY_INTERVAL_MS));
        client.start();
        LeaderLatch latch = new LeaderLatch(client, ELECTION, name);
        // Not for work: only to start it and to stop it. Both are called on a thread of Curator.
        latch.addListener(new LeaderLatchListener() {
            @Override
            public void isLeader() {
                System.out.println(name + " leads");
            }

            @Override
            public void notLeader() {
                System.out.println(name + " does not lead any more");
            }
        });
        latch.start();
        Thread.currentThread().join();
    }
}
