package dev.zkensemble.e2e;

import static dev.zkensemble.e2e.Recipe.await;

import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;

/** Copies of a part of the tree. Each has to become what the tree is, whatever was lost on the way. */
@SuppressWarnings("deprecation")
final class Caches {
    private static final int CHANGES = 30;

    static void list(Map<String, Recipe.Test> tests) {
        tests.put("CuratorCache", Caches::curatorCache);
        tests.put("TreeCache", Caches::treeCache);
        tests.put("PathChildrenCache", Caches::childrenCache);
        tests.put("NodeCache", Caches::nodeCache);
    }

    private static void curatorCache(Recipe recipe) throws Exception {
        CuratorCache cache = recipe.closing(CuratorCache.build(recipe.client(), recipe.path));
        SortedMap<String, String> heard = new ConcurrentSkipListMap<>();
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreatesAndChanges((old, now) -> heard.put(now.getPath(), text(now)))
                .forDeletes(old -> heard.remove(old.getPath()))
                .build());
        cache.start();
        SortedMap<String, String> wanted = change(recipe, recipe.client());
        await("the cache is what the tree is", () -> {
            SortedMap<String, String> found = new TreeMap<>();
            cache.stream().forEach(node -> found.put(node.getPath(), text(node)));
            return found.equals(wanted);
        });
        await("the events tell the same", () -> heard.equals(wanted));
    }

    private static void treeCache(Recipe recipe) throws Exception {
        CuratorFramework client = recipe.client();
        TreeCache cache = recipe.closing(new TreeCache(client, recipe.path));
        cache.start();
        SortedMap<String, String> wanted = change(recipe, recipe.client());
        await("the cache is what the tree is", () -> wanted.entrySet().stream().allMatch(node -> {
            ChildData found = cache.getCurrentData(node.getKey());
            return found != null && text(found).equals(node.getValue());
        }));
        await("it has nothing else", () -> cache.getCurrentChildren(recipe.path).size() == wanted.size() - 1);
    }

    private static void childrenCache(Recipe recipe) throws Exception {
        PathChildrenCache cache = recipe.closing(new PathChildrenCache(recipe.client(), recipe.path, true));
        cache.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        SortedMap<String, String> wanted = change(recipe, recipe.client());
        wanted.remove(recipe.path);
        await("the cache is what the tree is", () -> {
            SortedMap<String, String> found = new TreeMap<>();
            cache.getCurrentData().forEach(node -> found.put(node.getPath(), text(node)));
            return found.equals(wanted);
        });
    }

    private static void nodeCache(Recipe recipe) throws Exception {
        NodeCache cache = recipe.closing(new NodeCache(recipe.client(), recipe.path));
        cache.start(true);
        CuratorFramework client = recipe.client();
        client.create().orSetData().creatingParentsIfNeeded().forPath(recipe.path, "one".getBytes());
        await("it hears of the creation", () -> cache.getCurrentData() != null);
        client.setData().forPath(recipe.path, "two".getBytes());
        await("it hears of the change", () -> text(cache.getCurrentData()).equals("two"));
        client.delete().quietly().forPath(recipe.path);
        await("it hears of the deletion", () -> cache.getCurrentData() == null);
    }

    /** Changes the tree below the test's path; returns what is there at the end. */
    private static SortedMap<String, String> change(Recipe recipe, CuratorFramework client) throws Exception {
        SortedMap<String, String> tree = new TreeMap<>();
        client.create().orSetData().creatingParentsIfNeeded().forPath(recipe.path, "root".getBytes());
        tree.put(recipe.path, "root");
        for (int change = 0; change < CHANGES; change++) {
            String node = recipe.path + "/" + change % 7;
            if (change % 3 == 2) {
                client.delete().quietly().forPath(node);
                tree.remove(node);
            } else {
                client.create().orSetData().forPath(node, String.valueOf(change).getBytes());
                tree.put(node, String.valueOf(change));
            }
        }
        return tree;
    }

    private static String text(ChildData node) {
        return new String(node.getData());
    }
}
