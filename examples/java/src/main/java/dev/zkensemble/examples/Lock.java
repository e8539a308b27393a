package dev.zkensemble.examples;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;

/**
 * A distributed lock: instances take turns, and no two ever work at the same time.
 *
 * <p>Whoever loses the connection stops working at once, since from then on it cannot know when its session ends and
 * the lock goes to another.
 */
public final class Lock {
    private static final String LOCK = "/examples/lock";
    /** For so long nobody gets the lock of a holder that died. */
    private static final int SESSION_TIMEOUT_MS = 6_000;
    private static final int CONNECTION_TIMEOUT_MS = 3_000;
    private static final int RETRY_INTERVAL_MS = 500;
    private static final int WORK_MS = 300;

    /** Counted down when the connection is lost. */
    private static volatile CountDownLatch interrupted = new CountDownLatch(1);

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("give the servers and a name: Lock 127.0.0.1:2181 a");
            System.exit(1);
        }
        CuratorFramework client = CuratorFrameworkFactory.newClient(
                arguments[0], SESSION_TIMEOUT_MS, CONNECTION_TIMEOUT_MS, new RetryForever(RETRY_INTERVAL_MS));
        client.getConnectionStateListenable().addListener((ignored, state) -> {
            if (state == ConnectionState.SUSPENDED || state == ConnectionState.LOST) {
                interrupted.countDown();
            }
        });
        client.start();
        InterProcessMutex lock = new InterProcessMutex(client, LOCK);
        while (true) {
            // Before the lock is asked for: what happens while it is being granted counts as well.
            CountDownLatch interruption = new CountDownLatch(1);
            interrupted = interruption;
            lock.acquire();
            try {
                if (interruption.getCount() > 0) {
                    work(arguments[1], interruption);
                }
            } finally {
                // If need be after the next reconnect.
                lock.release();
            }
        }
    }

    /**
     * Whatever needs the lock; it has to look at the interruption often.
     *
     * <p>A program that is stopped here for longer than its session lives goes on before it hears that the lock is not
     * its own any more. Where that matters, let each write to ZooKeeper be a transaction that also checks the lock's
     * node.
     */
    private static void work(String name, CountDownLatch interruption) throws InterruptedException {
        System.out.println(name + " holds the lock");
        if (interruption.await(WORK_MS, TimeUnit.MILLISECONDS)) {
            System.out.println(name + " stops");
        } else {
            System.out.println(name + " releases the lock");
        }
    }
}
