package dev.zkensemble.examples;

import java.nio.charset.StandardCharsets;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.retry.RetryForever;

/**
 * Configuration: one node's data, printed at the start and whenever somebody changes it.
 *
 * <p>With a value as second argument it stores that and ends. A change made while this program was cut off is seen as
 * well: the cache reads the node again after each reconnect.
 */
public final class Configuration {
    private static final String NODE = "/examples/configuration";
    private static final int SESSION_TIMEOUT_MS = 6_000;
    private static final int CONNECTION_TIMEOUT_MS = 3_000;
    private static final int RETRY_INTERVAL_MS = 500;

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 1 || arguments.length > 2) {
            System.err.println("give the servers: Configuration 127.0.0.1:2181 [value]");
            System.exit(1);
        }
        try (CuratorFramework client = CuratorFrameworkFactory.newClient(
                arguments[0], SESSION_TIMEOUT_MS, CONNECTION_TIMEOUT_MS, new RetryForever(RETRY_INTERVAL_MS))) {
            client.start();
            if (arguments.length == 2) {
                store(client, arguments[1]);
            } else {
                follow(client);
            }
        }
    }

    private static void follow(CuratorFramework client) throws InterruptedException {
        CuratorCache cache = CuratorCache.build(client, NODE, CuratorCache.Options.SINGLE_NODE_CACHE);
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreates(Configuration::print)
                .forChanges((old, now) -> print(now))
                .forDeletes(old -> System.out.println("there is none any more"))
                .build());
        cache.start();
        Thread.currentThread().join();
    }

    private static void print(ChildData node) {
        String value = new String(node.getData(), StandardCharsets.UTF_8);
        System.out.println("version " + node.getStat().getVersion() + " is " + value);
    }

    private static void store(CuratorFramework client, String value) throws Exception {
        byte[] data = value.getBytes(StandardCharsets.UTF_8);
        client.create().orSetData().creatingParentsIfNeeded().forPath(NODE, data);
        System.out.println("stored " + value);
    }
}
