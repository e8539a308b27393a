package dev.zkensemble.e2e;

import static dev.zkensemble.e2e.Recipe.await;
import static dev.zkensemble.e2e.Recipe.require;
import static dev.zkensemble.e2e.Recipe.same;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** Nodes of all kinds, watches, transactions and permissions, as Curator's framework asks for them. */
final class Framework {
    static void list(Map<String, Recipe.Test> tests) {
        tests.put("PersistentNode", Framework::persistentNode);
        tests.put("PersistentTtlNode", Framework::persistentTtlNode);
        tests.put("containers", Framework::containers);
        tests.put("protected sequential nodes", Framework::protectedNodes);
        tests.put("transactions", Framework::transactions);
        tests.put("PersistentWatcher", Framework::persistentWatcher);
        tests.put("watches that are removed", Framework::removedWatches);
        tests.put("permissions", Framework::permissions);
        tests.put("namespaces and compression", Framework::namespaces);
    }

    /** A session is ended from outside, as its expiry would end it. */
    private static void persistentNode(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        CuratorFramework other = recipe.client();
        String path = recipe.path + "/node";
        PersistentNode node = recipe.closing(
                new PersistentNode(client, CreateMode.EPHEMERAL, false, path, "data".getBytes(), true));
        node.start();
        require(node.waitForInitialCreate(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the node is made");
        long first = client.getZookeeperClient().getZooKeeper().getSessionId();
        other.delete().quietly().forPath(path);
        await("it is made again when deleted", () -> other.checkExists().forPath(path) != null);
        end(client);
        await("it is made again in another session", () -> {
            Stat stat = other.checkExists().forPath(path);
            return stat != null && stat.getEphemeralOwner() != first;
        });
    }

    private static void end(CuratorFramework client) throws Exception {
        ZooKeeper session = client.getZookeeperClient().getZooKeeper();
        CountDownLatch connected = new CountDownLatch(1);
        Watcher whenConnected = event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        };
        ZooKeeper twin = new ZooKeeper(
                client.getZookeeperClient().getCurrentConnectionString(), session.getSessionTimeout(),
                whenConnected, session.getSessionId(), session.getSessionPasswd());
        require(connected.await(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the session is taken up");
        twin.close();
    }

    private static void persistentTtlNode(Recipe recipe) throws Exception {
        CuratorFramework other = recipe.client();
        PersistentTtlNode node = new PersistentTtlNode(recipe.client(), recipe.path, 1_000, "data".getBytes());
        node.start();
        require(node.waitForInitialCreate(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the node is made");
        same(new String(other.getData().forPath(recipe.path)), "data");
        node.close();
        await("it goes after its time", () -> other.checkExists().forPath(recipe.path) == null);
    }

    private static void containers(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        client.create().orSetData().creatingParentContainersIfNeeded().forPath(recipe.path + "/container/child");
        client.delete().quietly().forPath(recipe.path + "/container/child");
        await("empty containers go", () -> client.checkExists().forPath(recipe.path) == null);
    }

    private static void protectedNodes(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        String before = "";
        for (int at = 0; at < 5; at++) {
            String node = client.create().creatingParentsIfNeeded().withProtection()
                    .withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(recipe.path + "/n-");
            String sequence = node.substring(node.length() - 10);
            require(sequence.compareTo(before) > 0, "each is behind the one before");
            before = sequence;
        }
        same(client.getChildren().forPath(recipe.path).size(), 5);
    }

    private static void transactions(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        client.createContainers(recipe.path);
        CuratorOp create = client.transactionOp().create().forPath(recipe.path + "/a", "1".getBytes());
        CuratorOp set = client.transactionOp().setData().forPath(recipe.path + "/a", "2".getBytes());
        CuratorOp check = client.transactionOp().check().withVersion(1).forPath(recipe.path + "/a");
        same(client.transaction().forOperations(create, set, check).size(), 3);
        CuratorOp delete = client.transactionOp().delete().forPath(recipe.path + "/a");
        CuratorOp wrong = client.transactionOp().check().withVersion(9).forPath(recipe.path);
        try {
            client.transaction().forOperations(delete, wrong);
            throw new AssertionError("a transaction with a wrong check was done");
        } catch (KeeperException.BadVersionException refused) {
            same(List.of(code(refused, 0), code(refused, 1)), List.of("OK", "BADVERSION"));
        }
        same(new String(client.getData().forPath(recipe.path + "/a")), "2");
    }

    private static String code(KeeperException refused, int at) {
        int error = ((OpResult.ErrorResult) refused.getResults().get(at)).getErr();
        return KeeperException.Code.get(error).name();
    }

    private static void persistentWatcher(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        client.createContainers(recipe.path);
        Set<String> heard = ConcurrentHashMap.newKeySet();
        PersistentWatcher watcher = recipe.closing(new PersistentWatcher(client, recipe.path, true));
        CountDownLatch set = new CountDownLatch(1);
        watcher.getResetListenable().addListener(set::countDown);
        watcher.getListenable().addListener(event -> heard.add(event.getType() + " " + event.getPath()));
        watcher.start();
        require(set.await(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the watch is set");
        CuratorFramework other = recipe.client();
        // What happens while the connection is lost is not told: so again, until it was heard.
        await("what happens below is heard", () -> {
            other.create().orSetData().creatingParentsIfNeeded().forPath(recipe.path + "/a/b");
            other.setData().forPath(recipe.path + "/a/b", "x".getBytes());
            other.delete().quietly().forPath(recipe.path + "/a/b");
            return heard.containsAll(List.of(
                    "NodeCreated " + recipe.path + "/a/b",
                    "NodeDataChanged " + recipe.path + "/a/b",
                    "NodeDeleted " + recipe.path + "/a/b"));
        });
    }

    private static void removedWatches(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        client.createContainers(recipe.path);
        Set<String> heard = ConcurrentHashMap.newKeySet();
        Watcher watcher = event -> heard.add(event.getType().name());
        client.watchers().add().withMode(AddWatchMode.PERSISTENT).usingWatcher(watcher).forPath(recipe.path);
        client.watchers().remove(watcher).locally().forPath(recipe.path);
        await("it is told that it was removed", () -> heard.contains("PersistentWatchRemoved"));
        client.setData().forPath(recipe.path, "x".getBytes());
        // An event of that change would be before the answer of this.
        client.getData().forPath(recipe.path);
        require(!heard.contains("NodeDataChanged"), "it is told nothing after that");
    }

    private static void permissions(Recipe recipe) throws Exception {
        CuratorFramework owner = recipe.client(
                CuratorFrameworkFactory.builder().authorization("digest", "owner:secret".getBytes()));
        CuratorFramework stranger = recipe.client();
        owner.createContainers(recipe.path);
        String node = recipe.path + "/mine";
        owner.create().orSetData().withMode(CreateMode.PERSISTENT).withACL(ZooDefs.Ids.CREATOR_ALL_ACL).forPath(node);
        same(owner.getACL().forPath(node).get(0).getId().getScheme(), "digest");
        Recipe.catchUp(stranger);
        try {
            stranger.getData().forPath(node);
            throw new AssertionError("a stranger read what is not for strangers");
        } catch (KeeperException.NoAuthException refused) {
            owner.setACL().withACL(ZooDefs.Ids.READ_ACL_UNSAFE).forPath(node);
        }
        Recipe.catchUp(stranger);
        require(stranger.getData().forPath(node).length > 0, "it is for all then");
    }

    private static void namespaces(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        CuratorFramework inside = client.usingNamespace(recipe.path.substring(1));
        byte[] data = "some text ".repeat(100).getBytes();
        inside.create().orSetData().creatingParentsIfNeeded().forPath("/node", data);
        same(client.getChildren().forPath(recipe.path), List.of("node"));
        inside.setData().compressed().forPath("/node", data);
        require(client.getData().forPath(recipe.path + "/node").length < data.length, "it was compressed");
        same(new String(inside.getData().decompressed().forPath("/node")), new String(data));
        inside.delete().guaranteed().deletingChildrenIfNeeded().forPath("/node");
    }
}
