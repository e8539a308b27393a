package dev.zkensemble.examples;

import java.util.stream.Collectors;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.retry.RetryForever;
import org.apache.zookeeper.CreateMode;

/**
 * Cluster membership: each instance is an ephemeral node, and prints who is there whenever that changes.
 *
 * <p>An instance that dies is gone for the others when its session is. One that lived on and only lost its session,
 * because it was stopped or cut off for too long, joins again in a new one: that is what PersistentNode is for.
 */
public final class Membership {
    private static final String GROUP = "/examples/members";
    /** For so long the others believe in an instance that is dead. */
    private static final int SESSION_TIMEOUT_MS = 6_000;
    private static final int CONNECTION_TIMEOUT_MS = 3_000;
    private static final int RETRY_INTERVAL_MS = 500;

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("give the servers and a name: Membership 127.0.0.1:2181 a");
            System.exit(1);
        }
        String name = arguments[1];
        CuratorFramework client = CuratorFrameworkFactory.newClient(
                arguments[0], SESSION_TIMEOUT_MS, CONNECTION_TIMEOUT_MS, new RetryForever(RETRY_INTERVAL_MS));
        client.start();

        // Reads everything again after a reconnect.
        CuratorCache cache = CuratorCache.build(client, GROUP);
        Runnable print = () -> System.out.println(name + " sees " + members(cache));
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forInitialized(print)
                .forCreates(node -> print.run())
                .forDeletes(node -> print.run())
                .afterInitialized()
                .build());
        cache.start();

        PersistentNode node = new PersistentNode(client, CreateMode.EPHEMERAL, false, GROUP + "/" + name, new byte[0]);
        node.getListenable().addListener(path -> System.out.println(name + " is a member"));
        node.start();
        Thread.currentThread().join();
    }

    private static String members(CuratorCache cache) {
        return cache.stream()
                .map(node -> node.getPath())
                .filter(path -> path.startsWith(GROUP + "/"))
                .map(path -> path.substring(GROUP.length() + 1))
                .sorted()
                .collect(Collectors.joining(" "));
    }
}
