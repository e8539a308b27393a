package dev.zkensemble.e2e;

import static dev.zkensemble.e2e.Recipe.await;
import static dev.zkensemble.e2e.Recipe.require;
import static dev.zkensemble.e2e.Recipe.same;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.queue.DistributedDelayQueue;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;

/** Queues. With a lock path they give each item at least once, which is what can be had when connections are lost. */
final class Queues {
    private static final int ITEMS = 10;

    static void list(Map<String, Recipe.Test> tests) {
        tests.put("DistributedQueue", Queues::queue);
        tests.put("DistributedPriorityQueue", Queues::priorityQueue);
        tests.put("DistributedDelayQueue", Queues::delayQueue);
        tests.put("SimpleDistributedQueue", Queues::simpleQueue);
    }

    private static void queue(Recipe recipe) throws Exception {
        Consumer consumer = new Consumer();
        for (int at = 0; at < 2; at++) {
            recipe.closing(builder(recipe, consumer).buildQueue()).start();
        }
        DistributedQueue<String> producer = recipe.closing(builder(recipe, null).buildQueue());
        producer.start();
        for (int item = 0; item < ITEMS; item++) {
            producer.put(String.valueOf(item));
        }
        await("each item arrives", () -> consumer.items.stream().distinct().count() == ITEMS);
    }

    private static void priorityQueue(Recipe recipe) throws Exception {
        DistributedPriorityQueue<String> producer = recipe.closing(builder(recipe, null).buildPriorityQueue(0));
        producer.start();
        for (int item = ITEMS; item > 0; item--) {
            producer.put(String.valueOf(item), item);
        }
        require(producer.flushPuts(Recipe.PATIENCE_S, TimeUnit.SECONDS), "all are in the queue");
        Consumer consumer = new Consumer();
        recipe.closing(builder(recipe, consumer).buildPriorityQueue(0)).start();
        await("each item arrives", () -> consumer.items.stream().distinct().count() == ITEMS);
    }

    private static void delayQueue(Recipe recipe) throws Exception {
        Consumer consumer = new Consumer();
        DistributedDelayQueue<String> queue = recipe.closing(builder(recipe, consumer).buildDelayQueue());
        queue.start();
        long begun = System.currentTimeMillis();
        queue.put("later", begun + 300);
        await("it arrives", () -> consumer.items.contains("later"));
        require(System.currentTimeMillis() >= begun + 300, "it arrives no sooner than it should");
    }

    private static void simpleQueue(Recipe recipe) throws Exception {
        CuratorFramework other = recipe.client();
        SimpleDistributedQueue producer = new SimpleDistributedQueue(recipe.client(), recipe.path);
        SimpleDistributedQueue consumer = new SimpleDistributedQueue(other, recipe.path);
        require(producer.offer("first".getBytes()) && producer.offer("second".getBytes()), "both are in the queue");
        Recipe.catchUp(other);
        same(new String(consumer.peek()), "first");
        same(new String(consumer.take()), "first");
        byte[] next = consumer.poll(Recipe.PATIENCE_S, TimeUnit.SECONDS);
        // An offer whose answer was lost was made again.
        require(next != null && List.of("first", "second").contains(new String(next)), "the next one follows");
    }

    private static QueueBuilder<String> builder(Recipe recipe, Consumer consumer) {
        return QueueBuilder.builder(recipe.client(), consumer, new Text(), recipe.path + "/items")
                .lockPath(recipe.path + "/locks");
    }

    private static final class Consumer implements QueueConsumer<String> {
        private final List<String> items = new CopyOnWriteArrayList<>();

        @Override
        public void consumeMessage(String item) {
            items.add(item);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {
            // What was lost comes again.
        }
    }

    private static final class Text implements QueueSerializer<String> {
        @Override
        public byte[] serialize(String item) {
            return item.getBytes();
        }

        @Override
        public String deserialize(byte[] bytes) {
            return new String(bytes);
        }
    }
}
