package dev.zkensemble.e2e;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.zookeeper.KeeperException;

/**
 * Curator's recipes and what its framework offers, one after the other, against the servers that the first argument
 * names. From the line that says so they may restart, one at a time.
 *
 * <p>A write whose answer is lost with its connection may have happened or not, and Curator's second try then finds its
 * own first: a node that exists, or is gone, or has another version. Such an answer is an honest one, so a test that
 * gets it begins again on another path. So does one that meets Curator's own NullPointerException: two connections lost
 * while one protected node is made, and its nested retry loops, which share their state, end without a path. A recipe
 * that claims what is not so ends the program.
 */
public final class Recipes {
    private static final String RESTARTS_BEGIN = "from here on servers may restart";
    /** No test meets so many restarts at its weak moments. */
    private static final int TRIES = 5;

    public static void main(String[] arguments) throws Exception {
        Map<String, Recipe.Test> tests = new LinkedHashMap<>();
        Locks.list(tests);
        Groups.list(tests);
        Numbers.list(tests);
        Caches.list(tests);
        Queues.list(tests);
        Framework.list(tests);
        run(arguments[0], "the root", recipe -> recipe.client().create().orSetData().forPath(Recipe.ROOT));
        // It takes any event of its connection for the one it waits for, so not while servers restart.
        run(arguments[0], "DistributedDoubleBarrier", Groups::doubleBarrier);
        System.out.println(RESTARTS_BEGIN);
        for (Map.Entry<String, Recipe.Test> test : tests.entrySet()) {
            run(arguments[0], test.getKey(), test.getValue());
        }
        System.out.println("all recipes work");
        System.exit(0);
    }

    private static void run(String hosts, String name, Recipe.Test test) throws Exception {
        long begun = System.nanoTime();
        for (int tried = 1; ; tried++) {
            Recipe recipe = new Recipe(hosts, name + "-" + tried);
            try {
                test.run(recipe);
                System.out.printf("%5d ms  %s%n", (System.nanoTime() - begun) / 1_000_000, name);
                return;
            } catch (KeeperException | NullPointerException unclear) {
                System.out.println("          " + name + " begins again: " + unclear.getMessage());
                if (tried == TRIES) {
                    throw unclear;
                }
            } finally {
                recipe.close();
            }
        }
    }
}
