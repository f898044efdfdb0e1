// Topics created, described, altered, trimmed and deleted through the Java admin client.

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

final class Topics {
    private final String address;
    private Admin admin;

    Topics(String address) {
        this.address = address;
    }

    Map<String, Object> create(Request request) throws Exception {
        NewTopic topic = new NewTopic(request.text("topic"), Optional.of(request.count("partitions")), Optional.empty());
        admin().createTopics(List.of(topic.configs(request.texts("configs")))).all().get();
        return Map.of();
    }

    Map<String, Object> alter(Request request) throws Exception {
        List<AlterConfigOp> changes = request.texts("configs").entrySet().stream()
            .map(setting -> new AlterConfigOp(new ConfigEntry(setting.getKey(), setting.getValue()), AlterConfigOp.OpType.SET))
            .collect(Collectors.toList());
        admin().incrementalAlterConfigs(Map.of(resource(request), changes)).all().get();
        return Map.of();
    }

    Map<String, Object> describe(Request request) throws Exception {
        String name = request.text("topic");
        TopicDescription topic = admin().describeTopics(List.of(name)).allTopicNames().get().get(name);
        Config config = admin().describeConfigs(List.of(resource(request))).all().get().get(resource(request));
        Map<String, String> configs = new TreeMap<>();
        config.entries().forEach(entry -> configs.put(entry.name(), entry.value()));
        return Map.of("partitions", topic.partitions().size(), "configs", configs);
    }

    Map<String, Object> addPartitions(Request request) throws Exception {
        admin().createPartitions(Map.of(request.text("topic"), NewPartitions.increaseTo(request.count("count")))).all().get();
        return Map.of();
    }

    Map<String, Object> deleteRecords(Request request) throws Exception {
        TopicPartition partition = request.partition();
        RecordsToDelete before = RecordsToDelete.beforeOffset(request.number("before"));
        long low = admin().deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get().lowWatermark();
        return Map.of("low", low);
    }

    Map<String, Object> delete(Request request) throws Exception {
        admin().deleteTopics(List.of(request.text("topic"))).all().get();
        return Map.of();
    }

    Map<String, Object> list() throws Exception {
        return Map.of("topics", new TreeSet<>(admin().listTopics().names().get()));
    }

    private static ConfigResource resource(Request request) {
        return new ConfigResource(ConfigResource.Type.TOPIC, request.text("topic"));
    }

    /** Made when first needed: a run that only reads and writes does without its connections. */
    private Admin admin() {
        if (admin == null) {
            Properties settings = Driver.settings(address);
            settings.put("default.api.timeout.ms", "30000");
            admin = Admin.create(settings);
        }
        return admin;
    }

    void close() {
        if (admin != null) {
            admin.close();
        }
    }
}
