// A group of two consumers, as Java programs have had it since Kafka 0.9: the second joins and leaves while records are read, everything is
// read, and who comes later begins where they committed. Called by Old.

import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListSet;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public final class OldGroup {
    private static final int PARTITIONS = 4;
    private static final int COUNT = 400;
    private static final long WAIT_NS_MAX = 30_000_000_000L;

    private final Properties settings;
    private final String topic;
    private final Set<Integer> read = new ConcurrentSkipListSet<>();
    private int written = 0;

    private OldGroup(Properties settings, String topic) {
        this.settings = settings;
        this.topic = topic;
    }

    /** Throws if anything is not as it should be; else says what was done. */
    public static String run(Properties settings, String topic) throws Exception {
        Properties own = new Properties();
        own.putAll(settings);
        own.put("group.id", topic);
        own.put("enable.auto.commit", "false");
        own.put("auto.offset.reset", "earliest");
        own.put("session.timeout.ms", "6000");
        own.put("heartbeat.interval.ms", "200");
        new OldGroup(own, topic).share();
        return "a group shared";
    }

    private void share() throws Exception {
        try (AdminClient admin = AdminClient.create(settings)) {
            admin.createTopics(Collections.singletonList(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
        }
        write();
        Reader first = new Reader();
        first.start();
        wait("the first member has all", () -> first.owned.size() == PARTITIONS);
        Reader second = new Reader();
        second.start();
        wait("the members share", () -> first.owned.size() == PARTITIONS / 2 && second.owned.size() == PARTITIONS / 2);
        write();
        wait("all is read by both", () -> read.size() == written);
        second.end();
        wait("the first member has all again", () -> first.owned.size() == PARTITIONS);
        write();
        wait("all is read by the first", () -> read.size() == written);
        first.end();
        resume();
    }

    /** A later member of the group finds nothing left to read, until something is written. */
    private void resume() throws Exception {
        read.clear();
        int before = written;
        Reader third = new Reader();
        third.start();
        wait("a later member has all", () -> third.owned.size() == PARTITIONS);
        write();
        wait("a later member reads what is new", () -> read.size() >= COUNT);
        third.end();
        Old.same(Collections.min(read), before);
        Old.same(read.size(), COUNT);
    }

    private void write() {
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < COUNT; i++, written++) {
                producer.send(new ProducerRecord<>(topic, written % PARTITIONS, "", Integer.toString(written)));
            }
        }
    }

    private static void wait(String what, Callable<Boolean> holds) throws Exception {
        long deadline = System.nanoTime() + WAIT_NS_MAX;
        while (!holds.call()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("waited in vain: " + what);
            }
            Thread.sleep(20);
        }
    }

    /** A member with a thread of its own. */
    private final class Reader extends Thread implements ConsumerRebalanceListener {
        private volatile Set<TopicPartition> owned = Collections.emptySet();
        private volatile boolean ending = false;

        Reader() {
            setDaemon(true);
        }

        @Override
        @SuppressWarnings("deprecation")
        public void run() {
            try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                List<String> topics = Collections.singletonList(topic);
                consumer.subscribe(topics, this);
                while (!ending) {
                    ConsumerRecords<String, String> polled = consumer.poll(100);
                    for (ConsumerRecord<String, String> record : polled) {
                        Old.same(Integer.parseInt(record.value()), (int) record.offset() * PARTITIONS + record.partition());
                        read.add(Integer.parseInt(record.value()));
                    }
                    commit(consumer, polled);
                }
            }
        }

        /** What is refused is read again by whoever has it then. */
        private void commit(KafkaConsumer<String, String> consumer, ConsumerRecords<String, String> polled) {
            try {
                if (!polled.isEmpty()) {
                    consumer.commitSync();
                }
            } catch (CommitFailedException refused) {
                System.err.println("refused: " + refused.getMessage());
            }
        }

        void end() throws InterruptedException {
            ending = true;
            join();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> given) {
            owned = new HashSet<>(given);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> taken) {
            owned = Collections.emptySet();
        }
    }
}
