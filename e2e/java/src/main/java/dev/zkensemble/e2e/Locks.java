package dev.zkensemble.e2e;

import static dev.zkensemble.e2e.Recipe.require;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;

/** Who may work at the same time. All contenders live in this process, so that it sees exactly who works when. */
final class Locks {
    private static final int CONTENDERS = 3;
    private static final int TURNS = 6;

    static void list(Map<String, Recipe.Test> tests) {
        tests.put("InterProcessMutex", recipe -> alone(recipe, client -> new InterProcessMutex(client, recipe.path)));
        tests.put("InterProcessSemaphoreMutex",
                recipe -> alone(recipe, client -> new InterProcessSemaphoreMutex(client, recipe.path)));
        tests.put("InterProcessMultiLock", recipe -> alone(recipe, client -> new InterProcessMultiLock(
                client, List.of(recipe.path + "/a", recipe.path + "/b"))));
        tests.put("InterProcessMutex, entered twice", Locks::enteredTwice);
        tests.put("InterProcessSemaphoreV2", Locks::semaphore);
        tests.put("InterProcessReadWriteLock", Locks::readWriteLock);
    }

    private interface Maker {
        InterProcessLock make(CuratorFramework client);
    }

    private static void alone(Recipe recipe, Maker maker) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        together(recipe, client -> {
            InterProcessLock lock = maker.make(client);
            for (int turn = 0; turn < TURNS; turn++) {
                require(lock.acquire(Recipe.PATIENCE_S, TimeUnit.SECONDS), "the lock is granted");
                require(inside.incrementAndGet() == 1, "one alone holds the lock");
                Thread.sleep(5);
                inside.decrementAndGet();
                lock.release();
            }
        });
    }

    private static void enteredTwice(Recipe recipe) throws Exception {
        InterProcessMutex mine = new InterProcessMutex(recipe.client(), recipe.path);
        InterProcessMutex other = new InterProcessMutex(recipe.client(), recipe.path);
        mine.acquire();
        mine.acquire();
        mine.release();
        require(!other.acquire(200, TimeUnit.MILLISECONDS), "it is held until it was released as often as acquired");
        Recipe.await("who gave up left no node", () -> mine.getParticipantNodes().size() == 1);
        mine.release();
        require(other.acquire(Recipe.PATIENCE_S, TimeUnit.SECONDS), "it is free then");
        other.release();
    }

    private static void semaphore(Recipe recipe) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        together(recipe, client -> {
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(client, recipe.path, 2);
            for (int turn = 0; turn < TURNS; turn++) {
                Lease lease = semaphore.acquire(Recipe.PATIENCE_S, TimeUnit.SECONDS);
                require(lease != null, "a lease is granted");
                require(inside.incrementAndGet() <= 2, "no more than two hold leases");
                Thread.sleep(5);
                inside.decrementAndGet();
                semaphore.returnLease(lease);
            }
        });
    }

    private static void readWriteLock(Recipe recipe) throws Exception {
        AtomicInteger readers = new AtomicInteger();
        AtomicInteger writers = new AtomicInteger();
        together(recipe, client -> {
            InterProcessReadWriteLock lock = new InterProcessReadWriteLock(client, recipe.path);
            for (int turn = 0; turn < TURNS; turn++) {
                lock.readLock().acquire();
                readers.incrementAndGet();
                require(writers.get() == 0, "nobody writes while one reads");
                readers.decrementAndGet();
                lock.readLock().release();
                lock.writeLock().acquire();
                require(writers.incrementAndGet() == 1 && readers.get() == 0, "who writes is alone");
                writers.decrementAndGet();
                lock.writeLock().release();
            }
        });
        InterProcessReadWriteLock first = new InterProcessReadWriteLock(recipe.client(), recipe.path);
        InterProcessReadWriteLock second = new InterProcessReadWriteLock(recipe.client(), recipe.path);
        first.readLock().acquire();
        require(second.readLock().acquire(Recipe.PATIENCE_S, TimeUnit.SECONDS), "two read at the same time");
        require(!second.writeLock().acquire(100, TimeUnit.MILLISECONDS), "nobody writes then");
        first.readLock().release();
        second.readLock().release();
    }

    private interface Contender {
        void run(CuratorFramework client) throws Exception;
    }

    /** Contenders with sessions and threads of their own. */
    private static void together(Recipe recipe, Contender contender) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(CONTENDERS);
        try {
            List<Callable<Void>> calls = new ArrayList<>();
            for (int at = 0; at < CONTENDERS; at++) {
                CuratorFramework client = recipe.client();
                calls.add(() -> {
                    contender.run(client);
                    return null;
                });
            }
            for (Future<Void> outcome : threads.invokeAll(calls)) {
                outcome.get();
            }
        } catch (ExecutionException failed) {
            if (failed.getCause() instanceof Error) {
                throw (Error) failed.getCause();
            }
            throw (Exception) failed.getCause();
        } finally {
            threads.shutdownNow();
        }
    }
}
