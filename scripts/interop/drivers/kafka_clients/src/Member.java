// A group member by Apache Kafka's own Java client: it reads, commits, and tells all of it, a JSON object a line, until stdin ends.
//
// What it tells is in scripts/interop/runner/groups/history.py. Started by `member`.

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Member implements ConsumerRebalanceListener {
    private static final Duration POLL = Duration.ofMillis(100);
    private static final Duration COMMIT = Duration.ofSeconds(5);
    private static final Map<String, Class<?>> ASSIGNORS = Map.of("range", RangeAssignor.class, "roundrobin", RoundRobinAssignor.class,
        "sticky", StickyAssignor.class, "cooperative-sticky", CooperativeStickyAssignor.class);

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final TreeSet<Integer> owned = new TreeSet<>();
    private final Map<TopicPartition, Long> dirty = new HashMap<>();
    private long commits = 0;
    private volatile boolean closing = false;

    public static void main(String[] arguments) {
        Request wanted = new Request(Json.parse(arguments[1]));
        new Member(settings(arguments[0], wanted)).run(wanted.text("topic"));
    }

    private Member(Properties settings) {
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static Properties settings(String address, Request wanted) {
        Properties settings = Driver.settings(address);
        settings.put("client.id", wanted.text("name"));
        settings.put("group.id", wanted.text("group"));
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        settings.put("fetch.max.wait.ms", "100");
        settings.put("max.poll.interval.ms", wanted.count("rebalance_ms"));
        if (!wanted.isNull("instance")) {
            settings.put("group.instance.id", wanted.text("instance"));
        }
        if (wanted.text("protocol").equals("consumer")) {
            settings.put("group.protocol", "consumer");
            if (!wanted.text("assignor").isEmpty()) {
                settings.put("group.remote.assignor", wanted.text("assignor"));
            }
            return settings;
        }
        settings.put("session.timeout.ms", wanted.count("session_ms"));
        settings.put("heartbeat.interval.ms", wanted.count("heartbeat_ms"));
        settings.put("partition.assignment.strategy", ASSIGNORS.get(wanted.text("assignor")).getName());
        return settings;
    }

    private void run(String topic) {
        Thread end = new Thread(this::waitForEnd);
        end.setDaemon(true);
        end.start();
        consumer.subscribe(List.of(topic), this);
        while (!closing) {
            try {
                read(consumer.poll(POLL));
            } catch (RuntimeException error) {
                // A broker that is away is no reason to end.
                tell("error", Map.of("error", error.toString()));
            }
            commit();
        }
        consumer.close();
    }

    private void waitForEnd() {
        try {
            while (System.in.read() >= 0) {
                // Nothing is said to it but the end.
            }
        } catch (IOException gone) {
            // That is an end too.
        }
        closing = true;
    }

    private void read(ConsumerRecords<byte[], byte[]> polled) {
        for (TopicPartition partition : polled.partitions()) {
            long from = -1;
            long to = -1;
            for (ConsumerRecord<byte[], byte[]> record : polled.records(partition)) {
                String value = new String(record.value(), StandardCharsets.UTF_8);
                if (!value.equals(partition.partition() + ":" + record.offset())) {
                    tell("wrong", Map.of("p", partition.partition(), "offset", record.offset(), "value", value));
                }
                if (record.offset() != to) {
                    tellRead(partition, from, to);
                    from = record.offset();
                }
                to = record.offset() + 1;
            }
            tellRead(partition, from, to);
        }
    }

    private void tellRead(TopicPartition partition, long from, long to) {
        if (to > from) {
            tell("read", Map.of("p", partition.partition(), "from", from, "to", to));
            dirty.put(partition, to);
        }
    }

    private void commit() {
        if (dirty.isEmpty()) {
            return;
        }
        commits++;
        Map<Integer, Long> offsets = new HashMap<>();
        Map<TopicPartition, OffsetAndMetadata> wanted = new HashMap<>();
        dirty.forEach((partition, offset) -> {
            offsets.put(partition.partition(), offset);
            wanted.put(partition, new OffsetAndMetadata(offset));
        });
        tell("commit", Map.of("n", commits, "offsets", offsets));
        try {
            consumer.commitSync(wanted, COMMIT);
        } catch (RuntimeException error) {
            tell("refused", Map.of("n", commits, "error", error.toString()));
            return;
        }
        tell("committed", Map.of("n", commits));
        dirty.clear();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> given) {
        given.forEach(partition -> owned.add(partition.partition()));
        tell("owned", Map.of("partitions", List.copyOf(owned)));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> taken) {
        commit();
        onPartitionsLost(taken);
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> taken) {
        taken.forEach(partition -> {
            owned.remove(partition.partition());
            dirty.remove(partition);
        });
        tell("owned", Map.of("partitions", List.copyOf(owned)));
    }

    /** One line, written at once: a kill must not take it along. */
    private static void tell(String event, Map<String, Object> fields) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("e", event);
        Instant now = Instant.now();
        line.put("t", now.getEpochSecond() * 1000.0 + now.getNano() / 1e6);
        line.putAll(fields);
        byte[] bytes = (Json.write(line) + "\n").getBytes(StandardCharsets.UTF_8);
        System.out.write(bytes, 0, bytes.length);
        System.out.flush();
    }
}
