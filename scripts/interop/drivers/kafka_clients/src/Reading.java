// Records, positions and watermarks read through KafkaConsumer with assigned partitions, never with a group.

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;

import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Reading {
    private final String address;
    private KafkaConsumer<byte[], byte[]> tail;
    /** What one poll of the tail brought beyond what was asked for. */
    private final Queue<ConsumerRecord<byte[], byte[]>> tailWaiting = new ArrayDeque<>();

    Reading(String address) {
        this.address = address;
    }

    Map<String, Object> consume(Request request) {
        KafkaConsumer<byte[], byte[]> consumer = consumer();
        try {
            seek(consumer, request.partition(), request.any("from"));
            return records(poll(consumer, new ArrayDeque<>(), request));
        } finally {
            end(consumer);
        }
    }

    Map<String, Object> tailStart(Request request) {
        close();
        tail = consumer();
        seek(tail, request.partition(), "latest");
        return Map.of("position", tail.position(request.partition()));
    }

    Map<String, Object> tailRead(Request request) {
        return records(poll(tail, tailWaiting, request));
    }

    Map<String, Object> watermarks(Request request) {
        TopicPartition partition = request.partition();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            long low = consumer.beginningOffsets(List.of(partition)).get(partition);
            long high = consumer.endOffsets(List.of(partition)).get(partition);
            return Map.of("low", low, "high", high);
        }
    }

    Map<String, Object> offsetForTime(Request request) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            OffsetAndTimestamp found = lookUp(consumer, request.partition(), request.number("timestamp_ms"));
            Map<String, Object> answer = new HashMap<>();
            answer.put("offset", found == null ? null : found.offset());
            return answer;
        }
    }

    private static void seek(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, Object from) {
        consumer.assign(List.of(partition));
        if (from.equals("earliest")) {
            consumer.seekToBeginning(List.of(partition));
        } else if (from.equals("latest")) {
            consumer.seekToEnd(List.of(partition));
        } else if (from instanceof Map) {
            OffsetAndTimestamp found = lookUp(consumer, partition, new Request(from).number("timestamp_ms"));
            if (found == null) {
                consumer.seekToEnd(List.of(partition));
            } else {
                consumer.seek(partition, found.offset());
            }
        } else {
            consumer.seek(partition, ((Number) from).longValue());
        }
    }

    private static OffsetAndTimestamp lookUp(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, long timestampMs) {
        return consumer.offsetsForTimes(Map.of(partition, timestampMs)).get(partition);
    }

    /** As many records as asked for, or those that came in time; what is over stays in {@code waiting}. */
    private static List<ConsumerRecord<byte[], byte[]>> poll(
            KafkaConsumer<byte[], byte[]> consumer, Queue<ConsumerRecord<byte[], byte[]>> waiting, Request request) {
        long deadline = System.nanoTime() + request.number("timeout_ms") * 1_000_000;
        int count = request.count("count");
        while (waiting.size() < count && System.nanoTime() < deadline) {
            consumer.poll(Duration.ofNanos(deadline - System.nanoTime())).forEach(waiting::add);
        }
        List<ConsumerRecord<byte[], byte[]>> taken = new ArrayList<>();
        while (taken.size() < count && !waiting.isEmpty()) {
            taken.add(waiting.remove());
        }
        return taken;
    }

    private static Map<String, Object> records(List<ConsumerRecord<byte[], byte[]>> records) {
        List<Object> out = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            List<Object> headers = new ArrayList<>();
            for (Header header : record.headers()) {
                List<Object> pair = new ArrayList<>();
                pair.add(header.key());
                pair.add(Request.encoded(header.value()));
                headers.add(pair);
            }
            Map<String, Object> fields = new LinkedHashMap<>();
            fields.put("partition", record.partition());
            fields.put("offset", record.offset());
            fields.put("timestamp_ms", record.timestamp());
            fields.put("key", Request.encoded(record.key()));
            fields.put("value", Request.encoded(record.value()));
            fields.put("headers", headers);
            out.add(fields);
        }
        return Map.of("records", out);
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Properties settings = Driver.settings(address);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("max.partition.fetch.bytes", "16000000");
        settings.put("fetch.max.bytes", "64000000");
        settings.put("default.api.timeout.ms", "30000");
        // So long that a broker that answers only at its end is found out by the tail.
        settings.put("fetch.max.wait.ms", "5000");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Ends the tail, if there is one. */
    void close() {
        if (tail != null) {
            end(tail);
        }
        tail = null;
        tailWaiting.clear();
    }

    /** Without waiting for a fetch that the broker has parked. */
    private static void end(KafkaConsumer<byte[], byte[]> consumer) {
        consumer.close(CloseOptions.timeout(Duration.ZERO));
    }
}
