package dev.zkensemble.e2e;

import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.RetryUntilElapsed;

/** What the tests of recipes share: sessions, a path of their own, waiting with a bound, and saying what is wrong. */
final class Recipe {
    /** Longer than any restart of a member takes, so that no session ends but those that a test ends. */
    private static final int SESSION_TIMEOUT_MS = 20_000;
    private static final int CONNECTION_TIMEOUT_MS = 5_000;
    static final String ROOT = "/recipes";
    /** For each wait: a restart, an election and a busy machine. */
    static final int PATIENCE_S = 40;

    private final String hosts;
    final String path;
    private final AutoCloseable[] opened = new AutoCloseable[16];
    private int count;

    interface Test {
        void run(Recipe recipe) throws Exception;
    }

    Recipe(String hosts, String name) {
        this.hosts = hosts;
        this.path = ROOT + "/" + name;
    }

    /** A session of its own, which ends with the test. */
    CuratorFramework client() {
        return client(CuratorFrameworkFactory.builder());
    }

    CuratorFramework client(CuratorFrameworkFactory.Builder builder) {
        CuratorFramework client = builder.connectString(hosts)
                .sessionTimeoutMs(SESSION_TIMEOUT_MS)
                .connectionTimeoutMs(CONNECTION_TIMEOUT_MS)
                .retryPolicy(new RetryUntilElapsed(PATIENCE_S * 1_000, 100))
                .build();
        client.start();
        return closing(client);
    }

    /** Lets a session see all that others were told was done: what it reads after a write of its own is no older. */
    static void catchUp(CuratorFramework client) throws Exception {
        client.setData().forPath(ROOT, new byte[0]);
    }

    /** Closed at the end of the test, the last one first. */
    <T extends AutoCloseable> T closing(T closeable) {
        opened[count++] = closeable;
        return closeable;
    }

    void close() throws Exception {
        while (count > 0) {
            opened[--count].close();
        }
    }

    /** Waits until something is so. What a lost connection keeps from being known is asked again. */
    static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_S);
        while (!condition.call()) {
            require(System.nanoTime() < end, what + ", within " + PATIENCE_S + " s");
            Thread.sleep(10);
        }
    }

    static void require(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("it should be so that " + what);
        }
    }

    static void same(Object found, Object wanted) {
        require(wanted.equals(found), "this is " + wanted + " and not " + found);
    }
}
