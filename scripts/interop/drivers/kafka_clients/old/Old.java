// Writes and reads with a kafka-clients of long ago: every acks, every codec it has, headers, nulls, set timestamps, idempotence.
//
// Usage: Old ADDRESS VERSION CODEC... It is compiled against each version, so it uses only what all of them have; OldAdmin is for
// those that have more. Started by scripts/interop/kafka_clients_old.sh.

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.Future;

import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class Old {
    private static final int COUNT = 500;
    private static final long ARRIVAL_NS_MAX = 10_000_000_000L;
    private static final long START_MS = 1_700_000_000_000L;

    private final String address;
    private final TopicPartition partition;
    /** What was written to the partition before. */
    private int written = 0;

    private Old(String address, String topic) {
        this.address = address;
        this.partition = new TopicPartition(topic, 0);
    }

    public static void main(String[] arguments) throws Exception {
        Old old = new Old(arguments[0], "old-" + arguments[1]);
        List<String> codecs = Arrays.asList(arguments).subList(2, arguments.length);
        for (String codec : codecs) {
            for (String acks : new String[] {"0", "1", "all"}) {
                old.write(codec, acks);
            }
        }
        old.read();
        old.positions();
        String administered = "no administration";
        if (Old.class.getResource("OldAdmin.class") != null) {
            administered = (String) Class.forName("OldAdmin").getMethod("run", Properties.class, String.class)
                .invoke(null, old.settings(), old.partition.topic() + "-made");
        }
        String shared = OldGroup.run(old.settings(), old.partition.topic() + "-shared");
        System.out.println("kafka-clients " + arguments[1] + ": " + old.written + " records, " + codecs + ", " + administered + ", " + shared);
        System.exit(0);
    }

    private void write(String codec, String acks) throws Exception {
        Properties settings = settings();
        settings.put("acks", acks);
        settings.put("compression.type", codec);
        settings.put("enable.idempotence", Boolean.toString(acks.equals("all")));
        settings.put("linger.ms", "5");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < COUNT; i++) {
                sent.add(producer.send(record(written + i)));
            }
        }
        for (int i = 0; i < COUNT; i++) {
            RecordMetadata where = sent.get(i).get();
            same(where.offset(), acks.equals("0") ? -1L : written + i);
        }
        written += COUNT;
        if (acks.equals("0")) {
            arrive();
        }
    }

    /** Waits for what nobody acknowledges: another producer's records may overtake it, but it must not get lost on its way. */
    private void arrive() throws InterruptedException {
        long deadline = System.nanoTime() + ARRIVAL_NS_MAX;
        try (KafkaConsumer<String, String> consumer = consumer()) {
            while (end(consumer) < written && System.nanoTime() < deadline) {
                Thread.sleep(10);
            }
            same(end(consumer), (long) written);
        }
    }

    private long end(KafkaConsumer<String, String> consumer) {
        return consumer.endOffsets(Collections.singletonList(partition)).get(partition);
    }

    private ProducerRecord<String, String> record(int number) {
        ProducerRecord<String, String> record = new ProducerRecord<>(partition.topic(), 0, START_MS + number, key(number), value(number));
        record.headers().add("number", Integer.toString(number).getBytes()).add("null", null);
        return record;
    }

    private static String key(int number) {
        return number % 3 == 0 ? null : "key-" + number;
    }

    private static String value(int number) {
        return number % 7 == 0 ? null : number % 11 == 0 ? "" : "this is the value of record number " + number;
    }

    @SuppressWarnings("deprecation")
    private void read() {
        try (KafkaConsumer<String, String> consumer = consumer()) {
            consumer.assign(Collections.singletonList(partition));
            consumer.seekToBeginning(Collections.singletonList(partition));
            int next = 0;
            for (int polls = 0; next < written && polls < 100; polls++) {
                for (ConsumerRecord<String, String> record : consumer.poll(200)) {
                    same(record.offset(), (long) next);
                    same(record.timestamp(), START_MS + next);
                    same(record.key(), key(next));
                    same(record.value(), value(next));
                    same(new String(record.headers().lastHeader("number").value()), Integer.toString(next));
                    same(record.headers().lastHeader("null").value(), null);
                    next++;
                }
            }
            same(next, written);
        }
    }

    private void positions() {
        try (KafkaConsumer<String, String> consumer = consumer()) {
            same(consumer.beginningOffsets(Collections.singletonList(partition)), Collections.singletonMap(partition, 0L));
            same(consumer.endOffsets(Collections.singletonList(partition)), Collections.singletonMap(partition, (long) written));
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Collections.singletonMap(partition, START_MS + 123));
            same(found.get(partition).offset(), 123L);
            same(consumer.partitionsFor(partition.topic()).size(), 1);
        }
    }

    private KafkaConsumer<String, String> consumer() {
        Properties settings = settings();
        settings.put("enable.auto.commit", "false");
        // The oldest ones want a group's name even where no group is used.
        settings.put("group.id", "unused");
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private Properties settings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", address);
        settings.put("retry.backoff.ms", "20");
        return settings;
    }

    static void same(Object what, Object expected) {
        if (!Objects.equals(what, expected)) {
            throw new AssertionError("found " + what + ", expected " + expected);
        }
    }
}
