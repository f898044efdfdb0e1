// Where Java consumers start, stop and go back to: offsets of every kind, seeks, pauses, small polls. Run by Extras.

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.function.Predicate;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

final class Positions {
    private static final TopicPartition FIRST = new TopicPartition("positions", 0);
    private static final TopicPartition SECOND = new TopicPartition("positions", 1);
    private static final TopicPartition EMPTY = new TopicPartition("positions", 2);
    private static final int COUNT = 1000;
    /** Record n carries this time plus 10 n, except the one in the middle, which carries the latest of all. */
    private static final long START_MS = 1_700_000_000_000L;
    private static final int MIDDLE = 500;

    private final Admin admin;
    private final String address;
    /** The consumer's group.protocol, which chooses the implementation also where there is no group. */
    private String protocol;

    Positions(Admin admin, String address) {
        this.admin = admin;
        this.address = address;
    }

    void run(Extras extras) {
        extras.check("records written with zstd to two of three partitions", this::write);
        extras.check("listOffsets with every OffsetSpec", this::listOffsets);
        extras.check("listOffsets of an empty partition", this::listOffsetsOfNothing);
        // Inside KafkaConsumer there is one for the classic protocol, and one with a thread of its own for the consumer protocol.
        for (String implementation : List.of("classic", "consumer")) {
            protocol = implementation;
            read(extras);
        }
    }

    private void read(Extras extras) {
        extras.check(protocol + ": beginningOffsets, endOffsets, offsetsForTimes", this::offsets);
        extras.check(protocol + ": seek into the middle of a batch", this::seek);
        extras.check(protocol + ": pause and resume", this::pause);
        extras.check(protocol + ": max.poll.records", this::smallPolls);
        extras.check(protocol + ": read_committed, with lag", this::readCommitted);
        extras.check(protocol + ": a fetch of at most one small batch a time", this::smallFetches);
        extras.check(protocol + ": auto.offset.reset after a seek beyond the end", this::reset);
        extras.check(protocol + ": partitionsFor, listTopics, metrics", this::metadata);
        extras.check(protocol + ": LogAppendTime", this::logAppendTime);
        extras.check(protocol + ": every codec, one batch each, to a topic that looks into each record", this::codecs);
        extras.check(protocol + ": a topic deleted and made anew under an open producer and consumer", this::madeAnew);
    }

    private static long timeOf(int record) {
        return START_MS + (record == MIDDLE ? 10_000_000 : 10L * record);
    }

    private void write() throws Exception {
        admin.createTopics(List.of(new NewTopic("positions", 3, (short) 1))).all().get();
        Properties settings = Driver.settings(address);
        settings.put("compression.type", "zstd");
        settings.put("linger.ms", "5");
        settings.put("batch.size", "2000");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < COUNT; i++) {
                producer.send(new ProducerRecord<>("positions", 0, timeOf(i), "key-" + i, "value-" + i));
                producer.send(new ProducerRecord<>("positions", 1, timeOf(i), "key-" + i, "other-" + i));
            }
            producer.flush();
            Extras.same(producer.partitionsFor("positions").size(), 3);
        }
    }

    private ListOffsetsResultInfo list(TopicPartition partition, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
    }

    private void listOffsets() throws Exception {
        Extras.same(list(FIRST, OffsetSpec.earliest()).offset(), 0L);
        Extras.same(list(FIRST, OffsetSpec.latest()).offset(), (long) COUNT);
        Extras.same(list(FIRST, OffsetSpec.latest()).timestamp(), -1L);
        Extras.require(list(FIRST, OffsetSpec.latest()).leaderEpoch().isPresent(), "no leader epoch");
        Extras.same(list(FIRST, OffsetSpec.maxTimestamp()).offset(), (long) MIDDLE);
        Extras.same(list(FIRST, OffsetSpec.maxTimestamp()).timestamp(), timeOf(MIDDLE));
        Extras.same(list(FIRST, OffsetSpec.forTimestamp(timeOf(123) - 5)).offset(), 123L);
        Extras.same(list(FIRST, OffsetSpec.forTimestamp(timeOf(123) - 5)).timestamp(), timeOf(123));
        Extras.same(list(FIRST, OffsetSpec.forTimestamp(timeOf(COUNT))).offset(), (long) MIDDLE);
        Extras.same(list(FIRST, OffsetSpec.forTimestamp(timeOf(MIDDLE) + 1)).offset(), -1L);
        Extras.same(list(FIRST, OffsetSpec.earliestLocal()).offset(), 0L);
        Extras.same(list(FIRST, OffsetSpec.latestTiered()).offset(), -1L);
        Extras.same(list(FIRST, OffsetSpec.earliestPendingUpload()).offset(), -1L);
        ListOffsetsOptions committed = new ListOffsetsOptions(IsolationLevel.READ_COMMITTED);
        Extras.same(admin.listOffsets(Map.of(FIRST, OffsetSpec.latest()), committed).partitionResult(FIRST).get().offset(), (long) COUNT);
    }

    private void listOffsetsOfNothing() throws Exception {
        Extras.same(list(EMPTY, OffsetSpec.earliest()).offset(), 0L);
        Extras.same(list(EMPTY, OffsetSpec.latest()).offset(), 0L);
        Extras.same(list(EMPTY, OffsetSpec.maxTimestamp()).offset(), -1L);
        Extras.same(list(EMPTY, OffsetSpec.forTimestamp(0)).offset(), -1L);
        Extras.same(list(EMPTY, OffsetSpec.earliestLocal()).offset(), 0L);
    }

    private void offsets() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            Extras.same(consumer.beginningOffsets(List.of(FIRST, EMPTY)), Map.of(FIRST, 0L, EMPTY, 0L));
            Extras.same(consumer.endOffsets(List.of(FIRST, SECOND, EMPTY)), Map.of(FIRST, (long) COUNT, SECOND, (long) COUNT, EMPTY, 0L));
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Map.of(FIRST, timeOf(7), SECOND, timeOf(MIDDLE) + 1, EMPTY, 0L));
            Extras.same(found.get(FIRST).offset(), 7L);
            Extras.same(found.get(FIRST).timestamp(), timeOf(7));
            Extras.require(found.get(SECOND) == null && found.get(EMPTY) == null, found);
        }
    }

    private void seek() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            consumer.assign(List.of(FIRST));
            for (int offset : new int[] {777, 3, MIDDLE, COUNT - 1}) {
                consumer.seek(FIRST, offset);
                ConsumerRecord<String, String> record = poll(consumer, all -> !all.isEmpty()).get(0);
                Extras.same(record.offset(), (long) offset);
                Extras.same(record.value(), "value-" + offset);
                Extras.same(record.timestamp(), timeOf(offset));
                Extras.same(record.timestampType(), TimestampType.CREATE_TIME);
                Extras.require(record.leaderEpoch().isPresent(), "no leader epoch");
            }
            consumer.seekToEnd(List.of(FIRST));
            Extras.same(consumer.position(FIRST), (long) COUNT);
            consumer.seekToBeginning(List.of(FIRST));
            Extras.same(consumer.position(FIRST), 0L);
        }
    }

    private void pause() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            consumer.assign(List.of(FIRST, SECOND));
            consumer.seekToBeginning(List.of(FIRST, SECOND));
            consumer.pause(List.of(FIRST));
            Set<Integer> partitions = new HashSet<>();
            poll(consumer, all -> all.size() >= COUNT).forEach(record -> partitions.add(record.partition()));
            Extras.same(partitions, Set.of(1));
            consumer.resume(List.of(FIRST));
            List<ConsumerRecord<String, String>> rest = poll(consumer, all -> all.size() >= COUNT);
            Extras.same(rest.size(), COUNT);
            Extras.same(rest.get(0).offset(), 0L);
            Extras.same(rest.get(COUNT - 1).value(), "value-" + (COUNT - 1));
        }
    }

    private void smallPolls() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("max.poll.records", "7"))) {
            consumer.assign(List.of(FIRST));
            consumer.seekToBeginning(List.of(FIRST));
            long next = 0;
            while (next < COUNT) {
                ConsumerRecords<String, String> some = consumer.poll(Duration.ofSeconds(5));
                Extras.require(some.count() > 0 && some.count() <= 7, some.count() + " records at " + next);
                for (ConsumerRecord<String, String> record : some) {
                    Extras.same(record.offset(), next++);
                }
            }
        }
    }

    private void readCommitted() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("isolation.level", "read_committed"))) {
            consumer.assign(List.of(FIRST));
            consumer.seek(FIRST, COUNT - 10);
            Extras.same(poll(consumer, all -> all.size() >= 10).size(), 10);
            Extras.same(consumer.currentLag(FIRST).getAsLong(), 0L);
            Extras.same(consumer.endOffsets(List.of(FIRST)).get(FIRST), (long) COUNT);
        }
    }

    private void smallFetches() {
        Map<String, String> one = Map.of("fetch.max.bytes", "1", "max.partition.fetch.bytes", "1", "check.crcs", "true");
        try (KafkaConsumer<String, String> consumer = consumer(one)) {
            consumer.assign(List.of(FIRST, SECOND));
            consumer.seekToBeginning(List.of(FIRST, SECOND));
            Extras.same(poll(consumer, all -> all.size() >= 2 * COUNT).size(), 2 * COUNT);
        }
    }

    private void reset() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of("auto.offset.reset", "earliest"))) {
            consumer.assign(List.of(FIRST));
            consumer.seek(FIRST, COUNT + 1);
            Extras.same(poll(consumer, all -> !all.isEmpty()).get(0).offset(), 0L);
        }
    }

    private void metadata() {
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            Extras.same(consumer.partitionsFor("positions").size(), 3);
            Extras.same(consumer.listTopics().get("positions").size(), 3);
            Extras.require(consumer.metrics().keySet().stream().anyMatch(name -> name.name().equals("fetch-rate")), "no fetch-rate");
        }
    }

    private void logAppendTime() throws Exception {
        NewTopic topic = new NewTopic("stamped-" + protocol, 1, (short) 1).configs(Map.of("message.timestamp.type", "LogAppendTime"));
        admin.createTopics(List.of(topic)).all().get();
        TopicPartition partition = new TopicPartition("stamped-" + protocol, 0);
        long before = System.currentTimeMillis();
        long told = send("stamped-" + protocol, "none", START_MS);
        Extras.require(told >= before, "the producer was told " + told);
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            ConsumerRecord<String, String> record = poll(consumer, all -> !all.isEmpty()).get(0);
            Extras.same(record.timestampType(), TimestampType.LOG_APPEND_TIME);
            Extras.same(record.timestamp(), told);
        }
    }

    private void codecs() throws Exception {
        NewTopic topic = new NewTopic("codecs-" + protocol, 1, (short) 1).configs(Map.of("strict.records", "true"));
        admin.createTopics(List.of(topic)).all().get();
        TopicPartition partition = new TopicPartition("codecs-" + protocol, 0);
        List<String> codecs = List.of("none", "gzip", "snappy", "lz4", "zstd");
        for (String codec : codecs) {
            Extras.same(send("codecs-" + protocol, codec, START_MS), START_MS);
        }
        try (KafkaConsumer<String, String> consumer = consumer(Map.of())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            List<String> found = new ArrayList<>();
            poll(consumer, all -> all.size() >= codecs.size()).forEach(record -> found.add(record.key()));
            Extras.same(found, codecs);
        }
    }

    private void madeAnew() throws Exception {
        NewTopic topic = new NewTopic("anew-" + protocol, 1, (short) 1);
        TopicPartition partition = new TopicPartition("anew-" + protocol, 0);
        admin.createTopics(List.of(topic)).all().get();
        Properties settings = Driver.settings(address);
        settings.put("delivery.timeout.ms", "20000");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
                KafkaConsumer<String, String> consumer = consumer(Map.of("auto.offset.reset", "earliest"))) {
            consumer.assign(List.of(partition));
            for (int i = 0; i < 5; i++) {
                Extras.same(producer.send(new ProducerRecord<>("anew-" + protocol, 0, null, "old " + i)).get().offset(), (long) i);
            }
            poll(consumer, all -> all.size() >= 5);
            admin.deleteTopics(List.of("anew-" + protocol)).all().get();
            admin.createTopics(List.of(topic)).all().get();
            Extras.same(producer.send(new ProducerRecord<>("anew-" + protocol, 0, null, "new")).get().offset(), 0L);
            ConsumerRecord<String, String> record = poll(consumer, all -> !all.isEmpty()).get(0);
            Extras.same(record.offset() + " " + record.value(), "0 new");
        }
    }

    /** One large record with the codec's name as its key; the time that the broker has put down for it. */
    private long send(String topic, String codec, long timestampMs) throws Exception {
        Properties settings = Driver.settings(address);
        settings.put("compression.type", codec);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            return producer.send(new ProducerRecord<>(topic, 0, timestampMs, codec, "value ".repeat(10_000))).get().timestamp();
        }
    }

    /** Polls until {@code enough}, at most 10 s. */
    private static List<ConsumerRecord<String, String>> poll(
            KafkaConsumer<String, String> consumer, Predicate<List<ConsumerRecord<String, String>>> enough) {
        List<ConsumerRecord<String, String>> all = new ArrayList<>();
        long deadline = System.nanoTime() + 10_000_000_000L;
        while (!enough.test(all) && System.nanoTime() < deadline) {
            consumer.poll(Duration.ofMillis(200)).forEach(all::add);
        }
        Extras.require(enough.test(all), "only " + all.size() + " records in 10 s");
        return all;
    }

    private KafkaConsumer<String, String> consumer(Map<String, String> more) {
        Properties settings = Driver.settings(address);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("fetch.max.wait.ms", "100");
        settings.put("group.protocol", protocol);
        settings.putAll(more);
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }
}
