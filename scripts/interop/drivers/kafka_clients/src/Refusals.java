// What a broker must refuse, and by which name Java programs know the refusal. Run by Extras.

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.InvalidTimestampException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.serialization.StringSerializer;

final class Refusals {
    private static final String TOPIC = "strict";

    private final Admin admin;
    private final String address;

    Refusals(Admin admin, String address) {
        this.admin = admin;
        this.address = address;
    }

    void run(Extras extras) {
        extras.check("createTopics: names, counts, configs", this::topics);
        extras.check("createPartitions: fewer, the same, none such", this::partitions);
        extras.check("incrementalAlterConfigs: unknown, out of range, not a number, read-only", this::configs);
        extras.check("describeTopics and deleteTopics of what is not there", this::absent);
        extras.check("deleteRecords beyond the end", this::deleteRecords);
        extras.check("a record larger than max.message.bytes", this::tooLarge);
        extras.check("a timestamp that the topic does not take", this::timestamp);
        extras.check("transactions end soon, not by hanging", this::transactions);
    }

    private void topics() throws Exception {
        create(TOPIC, 1, 1, Map.of("max.message.bytes", "1000", "message.timestamp.before.max.ms", "60000"));
        Extras.refused(TopicExistsException.class, TOPIC, () -> create(TOPIC, 1, 1, Map.of()));
        Extras.refused(InvalidTopicException.class, "a b", () -> create("a b", 1, 1, Map.of()));
        Extras.refused(InvalidTopicException.class, "", () -> create("..", 1, 1, Map.of()));
        Extras.refused(InvalidTopicException.class, "", () -> create("x".repeat(250), 1, 1, Map.of()));
        Extras.refused(InvalidPartitionsException.class, "", () -> create("none", 0, 1, Map.of()));
        Extras.refused(InvalidReplicationFactorException.class, "", () -> create("two", 1, 2, Map.of()));
        Extras.refused(InvalidConfigurationException.class, "retention.mss", () -> create("odd", 1, 1, Map.of("retention.mss", "1")));
        Extras.refused(InvalidConfigurationException.class, "segment.bytes", () -> create("odd", 1, 1, Map.of("segment.bytes", "many")));
        Extras.refused(InvalidConfigurationException.class, "cleanup.policy", () -> create("odd", 1, 1, Map.of("cleanup.policy", "shrink")));
    }

    private void create(String name, int partitions, int replicas, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) replicas).configs(configs))).all().get();
    }

    private void partitions() throws Exception {
        Extras.refused(InvalidPartitionsException.class, "", () -> increase("positions", 2));
        Extras.refused(InvalidPartitionsException.class, "", () -> increase("positions", 3));
        Extras.refused(UnknownTopicOrPartitionException.class, "", () -> increase("nowhere", 3));
    }

    private void increase(String topic, int count) throws Exception {
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(count))).all().get();
    }

    private void configs() throws Exception {
        Extras.refused(InvalidConfigurationException.class, "retention.mss", () -> alter(topic(TOPIC), "retention.mss", "1"));
        Extras.refused(InvalidConfigurationException.class, "retention.ms", () -> alter(topic(TOPIC), "retention.ms", "soon"));
        Extras.refused(InvalidConfigurationException.class, "retention.ms", () -> alter(topic(TOPIC), "retention.ms", "-2"));
        Extras.refused(ApiException.class, "retention.ms",
            () -> admin.incrementalAlterConfigs(Map.of(topic(TOPIC), List.of(Administration.change("retention.ms", "1", OpType.APPEND)))).all().get());
        Extras.refused(UnknownTopicOrPartitionException.class, "", () -> alter(topic("nowhere"), "retention.ms", "1"));
        ConfigResource brokers = new ConfigResource(ConfigResource.Type.BROKER, "");
        Extras.refused(InvalidRequestException.class, "node.id", () -> alter(brokers, "node.id", "7"));
        Extras.refused(ApiException.class, "num.partitions", () -> alter(brokers, "num.partitions", "-5"));
    }

    private static ConfigResource topic(String name) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name);
    }

    private void alter(ConfigResource resource, String name, String value) throws Exception {
        List<AlterConfigOp> changes = List.of(Administration.set(name, value));
        admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
    }

    private void absent() throws Exception {
        Uuid nobody = Uuid.randomUuid();
        TopicCollection ids = TopicCollection.ofTopicIds(List.of(nobody));
        Extras.refused(UnknownTopicOrPartitionException.class, "", () -> admin.describeTopics(List.of("nowhere")).allTopicNames().get());
        Extras.refused(UnknownTopicIdException.class, "", () -> admin.describeTopics(ids).allTopicIds().get());
        Extras.refused(UnknownTopicOrPartitionException.class, "", () -> admin.deleteTopics(List.of("nowhere")).all().get());
        Extras.refused(UnknownTopicIdException.class, "", () -> admin.deleteTopics(ids).all().get());
        Extras.refused(UnknownTopicOrPartitionException.class, "", () -> admin.describeConfigs(List.of(topic("nowhere"))).all().get());
        Extras.require(!admin.listTopics().names().get().contains("nowhere"), "asking has made the topic");
    }

    private void deleteRecords() throws Exception {
        Extras.refused(OffsetOutOfRangeException.class, "", () -> deleteBefore(new TopicPartition("positions", 0), 1_000_000));
    }

    private void deleteBefore(TopicPartition partition, long offset) throws Exception {
        admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(offset))).all().get();
    }

    private void tooLarge() throws Exception {
        Extras.refused(RecordTooLargeException.class, "", () -> send("x".repeat(2000), null));
        send("small", null);
    }

    private void timestamp() throws Exception {
        Extras.refused(InvalidTimestampException.class, "", () -> send("old", System.currentTimeMillis() - 3_600_000));
        send("small", System.currentTimeMillis());
        long end = admin.listOffsets(Map.of(new TopicPartition(TOPIC, 0), OffsetSpec.latest())).all().get().values().iterator().next().offset();
        Extras.same(end, 2L);
    }

    private void send(String value, Long timestampMs) throws Exception {
        Properties settings = Driver.settings(address);
        settings.put("delivery.timeout.ms", "20000");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>(TOPIC, 0, timestampMs, null, value)).get();
        }
    }

    private void transactions() throws Exception {
        Properties settings = Driver.settings(address);
        settings.put("transactional.id", "nobody");
        settings.put("max.block.ms", "5000");
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        long started = System.nanoTime();
        Extras.refused(KafkaException.class, "", producer::initTransactions);
        Extras.require(System.nanoTime() - started < 4_000_000_000L, "it took until max.block.ms");
        producer.close(Duration.ZERO);
    }
}
