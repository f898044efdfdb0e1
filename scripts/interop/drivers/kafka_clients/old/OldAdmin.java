// Administration as Java programs did it from Kafka 1.1 to 3.9: configs are replaced as a whole, by AlterConfigs. Called by Old.

import java.util.Arrays;
import java.util.Collections;
import java.util.Properties;

import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringSerializer;

public final class OldAdmin {
    private OldAdmin() {}

    /** Throws if anything is not as it should be; else says what was done. */
    @SuppressWarnings("deprecation")
    public static String run(Properties settings, String topic) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        TopicPartition first = new TopicPartition(topic, 0);
        try (AdminClient admin = AdminClient.create(settings)) {
            Old.same(admin.describeCluster().nodes().get().size(), 1);
            NewTopic wanted = new NewTopic(topic, 2, (short) 1).configs(Collections.singletonMap("segment.bytes", "2097152"));
            admin.createTopics(Collections.singletonList(wanted)).all().get();
            admin.createPartitions(Collections.singletonMap(topic, NewPartitions.increaseTo(3))).all().get();
            TopicDescription described = admin.describeTopics(Collections.singletonList(topic)).all().get().get(topic);
            Old.same(described.partitions().size(), 3);
            Old.same(config(admin, resource, "segment.bytes"), "2097152 false");
            Config replaced = new Config(Arrays.asList(new ConfigEntry("retention.ms", "7200000"), new ConfigEntry("flush.ms", "500")));
            admin.alterConfigs(Collections.singletonMap(resource, replaced)).all().get();
            Old.same(config(admin, resource, "retention.ms"), "7200000 false");
            // AlterConfigs takes back what it does not name.
            Old.same(config(admin, resource, "segment.bytes"), "1073741824 true");
            write(settings, first, 5);
            Old.same(admin.deleteRecords(Collections.singletonMap(first, RecordsToDelete.beforeOffset(2)))
                .lowWatermarks().get(first).get().lowWatermark(), 2L);
            admin.deleteTopics(Collections.singletonList(topic)).all().get();
            Old.same(admin.listTopics().names().get().contains(topic), false);
        }
        return "a topic made, widened, altered, trimmed, deleted";
    }

    /** A value, and whether it is the default. */
    private static String config(AdminClient admin, ConfigResource resource, String name) throws Exception {
        ConfigEntry entry = admin.describeConfigs(Collections.singletonList(resource)).all().get().get(resource).get(name);
        return entry.value() + " " + entry.isDefault();
    }

    private static void write(Properties settings, TopicPartition partition, int count) {
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < count; i++) {
                producer.send(new ProducerRecord<>(partition.topic(), partition.partition(), "key", "value"));
            }
        }
    }
}
