package dev.zkensemble.e2e;

import static dev.zkensemble.e2e.Recipe.await;
import static dev.zkensemble.e2e.Recipe.require;
import static dev.zkensemble.e2e.Recipe.same;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.nodes.GroupMember;

/** Who is there, who leads, and who waits for whom. */
final class Groups {
    static void list(Map<String, Recipe.Test> tests) {
        tests.put("LeaderLatch", Groups::leaderLatch);
        tests.put("LeaderSelector", Groups::leaderSelector);
        tests.put("GroupMember", Groups::groupMember);
        tests.put("DistributedBarrier", Groups::barrier);
    }

    private static void leaderLatch(Recipe recipe) throws Exception {
        LeaderLatch first = new LeaderLatch(recipe.client(), recipe.path, "first");
        first.start();
        require(first.await(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the only candidate leads");
        LeaderLatch second = recipe.closing(new LeaderLatch(recipe.client(), recipe.path, "second"));
        second.start();
        await("both are candidates", () -> second.getParticipants().size() == 2);
        await("one leads", () -> first.hasLeadership() != second.hasLeadership());
        first.close();
        require(second.await(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the other leads when the first is gone");
        await("it knows that itself", () -> second.getLeader().getId().equals("second"));
    }

    private static void leaderSelector(Recipe recipe) throws Exception {
        Set<String> led = ConcurrentHashMap.newKeySet();
        AtomicInteger leaders = new AtomicInteger();
        AtomicInteger together = new AtomicInteger();
        for (String name : new String[] {"first", "second"}) {
            LeaderSelector selector = new LeaderSelector(recipe.client(), recipe.path, new LeaderSelectorListenerAdapter() {
                @Override
                public void takeLeadership(CuratorFramework client) throws Exception {
                    together.accumulateAndGet(leaders.incrementAndGet(), Math::max);
                    led.add(name);
                    try {
                        Thread.sleep(5);
                    } finally {
                        leaders.decrementAndGet();
                    }
                }
            });
            selector.autoRequeue();
            selector.start();
            recipe.closing(selector);
        }
        await("both lead, one after the other", () -> led.size() == 2);
        same(together.get(), 1);
    }

    private static void groupMember(Recipe recipe) throws Exception {
        GroupMember first = recipe.closing(new GroupMember(recipe.client(), recipe.path, "first", "a".getBytes()));
        GroupMember second = new GroupMember(recipe.client(), recipe.path, "second", "b".getBytes());
        first.start();
        second.start();
        await("the first sees both", () -> first.getCurrentMembers().keySet().equals(Set.of("first", "second")));
        await("the second sees both", () -> second.getCurrentMembers().size() == 2);
        same(new String(first.getCurrentMembers().get("second")), "b");
        second.close();
        await("one is left", () -> first.getCurrentMembers().keySet().equals(Set.of("first")));
    }

    private static void barrier(Recipe recipe) throws Exception {
        CuratorFramework other = recipe.client();
        DistributedBarrier barrier = new DistributedBarrier(recipe.client(), recipe.path);
        DistributedBarrier waiting = new DistributedBarrier(other, recipe.path);
        barrier.setBarrier();
        Recipe.catchUp(other);
        require(!waiting.waitOnBarrier(50, TimeUnit.MILLISECONDS), "nobody passes while it is there");
        CompletableFuture<Boolean> passed = inBackground(() -> waiting.waitOnBarrier(Recipe.PATIENCE_S, TimeUnit.SECONDS));
        barrier.removeBarrier();
        require(passed.get(), "all pass when it is gone");
    }

    static void doubleBarrier(Recipe recipe) throws Exception {
        DistributedDoubleBarrier mine = new DistributedDoubleBarrier(recipe.client(), recipe.path, 2);
        DistributedDoubleBarrier other = new DistributedDoubleBarrier(recipe.client(), recipe.path, 2);
        CountDownLatch entered = new CountDownLatch(1);
        CompletableFuture<Boolean> left = inBackground(() -> {
            boolean inside = other.enter(Recipe.PATIENCE_S, TimeUnit.SECONDS);
            entered.countDown();
            return inside && other.leave(Recipe.PATIENCE_S, TimeUnit.SECONDS);
        });
        require(!entered.await(50, TimeUnit.MILLISECONDS), "one does not enter alone");
        require(mine.enter(Recipe.PATIENCE_S, TimeUnit.SECONDS), "both enter");
        entered.await();
        require(!left.isDone(), "one does not leave alone");
        require(mine.leave(Recipe.PATIENCE_S, TimeUnit.SECONDS), "both leave");
        require(left.get(), "the other as well");
    }

    private interface Waiting {
        boolean run() throws Exception;
    }

    private static CompletableFuture<Boolean> inBackground(Waiting waiting) {
        CompletableFuture<Boolean> outcome = new CompletableFuture<>();
        Thread thread = new Thread(() -> {
            try {
                outcome.complete(waiting.run());
            } catch (Exception failed) {
                outcome.completeExceptionally(failed);
            }
        });
        thread.setDaemon(true);
        thread.start();
        return outcome;
    }
}
