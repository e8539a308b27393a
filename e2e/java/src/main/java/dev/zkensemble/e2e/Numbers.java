package dev.zkensemble.e2e;

import static dev.zkensemble.e2e.Recipe.await;
import static dev.zkensemble.e2e.Recipe.require;
import static dev.zkensemble.e2e.Recipe.same;

import java.util.Map;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.CachedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.retry.RetryNTimes;

/** Numbers that all share. */
final class Numbers {
    private static final int STEPS = 20;
    private static final int TRIES = 50;
    private static final int PAUSE_MS = 5;

    static void list(Map<String, Recipe.Test> tests) {
        tests.put("DistributedAtomicLong", Numbers::atomicLong);
        tests.put("CachedAtomicLong", Numbers::cachedLong);
        tests.put("SharedCount", Numbers::sharedCount);
        tests.put("SharedValue", Numbers::sharedValue);
    }

    /** A step whose answer was lost is taken twice; none that is acknowledged is lost or given to two. */
    private static void atomicLong(Recipe recipe) throws Exception {
        DistributedAtomicLong mine = atomic(recipe);
        DistributedAtomicLong other = atomic(recipe);
        long before = 0;
        for (int step = 0; step < STEPS; step++) {
            AtomicValue<Long> taken = (step % 2 == 0 ? mine : other).increment();
            require(taken.succeeded(), "a step is taken");
            require(taken.postValue() > before, "each step leads upward");
            before = taken.postValue();
        }
        same(other.get().postValue(), before);
        require(!mine.compareAndSet(before - 1, 0L).succeeded(), "a value that is not there is not replaced");
        same(other.get().postValue(), before);
    }

    private static void cachedLong(Recipe recipe) throws Exception {
        CachedAtomicLong cached = new CachedAtomicLong(atomic(recipe), 10);
        long first = cached.next().postValue();
        for (int step = 1; step < 10; step++) {
            same(cached.next().postValue(), first + step);
        }
    }

    private static DistributedAtomicLong atomic(Recipe recipe) {
        return new DistributedAtomicLong(recipe.client(), recipe.path, new RetryNTimes(TRIES, PAUSE_MS));
    }

    private static void sharedCount(Recipe recipe) throws Exception {
        SharedCount mine = recipe.closing(new SharedCount(recipe.client(), recipe.path, 1));
        SharedCount other = recipe.closing(new SharedCount(recipe.client(), recipe.path, 1));
        mine.start();
        other.start();
        VersionedValue<Integer> old = other.getVersionedValue();
        mine.setCount(7);
        await("the other hears of it", () -> other.getCount() == 7);
        require(!other.trySetCount(old, 8), "who knows an old count does not set a new one");
        // Tried again after a lost answer, it finds its own count and says that it did not set it.
        require(other.trySetCount(other.getVersionedValue(), 9) || other.getCount() == 9, "who knows the count sets it");
        await("the first hears of it", () -> mine.getCount() == 9);
    }

    private static void sharedValue(Recipe recipe) throws Exception {
        SharedValue mine = recipe.closing(new SharedValue(recipe.client(), recipe.path, "old".getBytes()));
        SharedValue other = recipe.closing(new SharedValue(recipe.client(), recipe.path, "old".getBytes()));
        mine.start();
        other.start();
        mine.setValue("new".getBytes());
        await("the other hears of it", () -> new String(other.getValue()).equals("new"));
    }
}
