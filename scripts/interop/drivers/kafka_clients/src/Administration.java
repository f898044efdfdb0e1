// What the Java admin client asks and sets, against what Kafka's own broker would answer. Run by Extras.

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigType;
import org.apache.kafka.clients.admin.CreatePartitionsOptions;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterOptions;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.DescribeTopicsOptions;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringSerializer;

final class Administration {
    private static final String TOPIC = "administered";

    private final Admin admin;
    private final String address;
    private int node;
    private Uuid topicId;

    Administration(Admin admin, String address) {
        this.admin = admin;
        this.address = address;
    }

    void run(Extras extras) {
        extras.check("describeCluster", this::cluster);
        extras.check("describeFeatures", this::features);
        extras.check("createTopics tells what it made", this::createTopics);
        extras.check("createTopics with validateOnly makes nothing", this::validateTopics);
        extras.check("describeTopics page by page, by name and by id", this::describeTopics);
        extras.check("listTopics", this::listTopics);
        extras.check("createPartitions, also with validateOnly", this::createPartitions);
        extras.check("describeConfigs of a topic: values, types, sources, synonyms, words", this::describeTopicConfigs);
        extras.check("incrementalAlterConfigs of a topic: set, delete, several at once", this::alterTopicConfigs);
        extras.check("incrementalAlterConfigs with validateOnly changes nothing", this::validateTopicConfigs);
        extras.check("describeConfigs of a broker", this::describeBrokerConfigs);
        extras.check("incrementalAlterConfigs of all brokers and of one: num.partitions", this::alterBrokerConfigs);
        extras.check("listConfigResources", this::listConfigResources);
        extras.check("describeProducers", this::describeProducers);
        extras.check("describeLogDirs and describeReplicaLogDirs", this::describeLogDirs);
        extras.check("deleteRecords", this::deleteRecords);
        extras.check("a deleted topic does not come back, and its successor is another", this::recreate);
    }

    private void cluster() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true));
        Collection<Node> nodes = cluster.nodes().get();
        Extras.same(nodes.size(), 1);
        Node only = nodes.iterator().next();
        Extras.same(only.host() + ":" + only.port(), address);
        Extras.same(cluster.controller().get(), only);
        Extras.require(!cluster.clusterId().get().isEmpty(), "an empty cluster id");
        cluster.authorizedOperations().get();
        node = only.id();
    }

    private void features() throws Exception {
        FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
        Extras.require(features.finalizedFeatures() != null && features.supportedFeatures() != null, features);
    }

    private void createTopics() throws Exception {
        NewTopic topic = new NewTopic(TOPIC, 5, (short) 1).configs(Map.of("retention.ms", "86400000", "segment.bytes", "1048576"));
        CreateTopicsResult result = admin.createTopics(List.of(topic));
        result.all().get();
        topicId = result.topicId(TOPIC).get();
        Extras.require(!topicId.equals(Uuid.ZERO_UUID), topicId);
        Extras.same(result.numPartitions(TOPIC).get(), 5);
        Extras.same(result.replicationFactor(TOPIC).get(), 1);
        Config config = result.config(TOPIC).get();
        Extras.same(config.get("retention.ms").value(), "86400000");
        Extras.same(config.get("retention.ms").source(), ConfigSource.DYNAMIC_TOPIC_CONFIG);
        Extras.same(config.get("max.message.bytes").source(), ConfigSource.DEFAULT_CONFIG);
        Extras.same(config.get("cleanup.policy").value(), "delete");
    }

    private void validateTopics() throws Exception {
        NewTopic topic = new NewTopic("validated", Optional.of(3), Optional.empty());
        CreateTopicsResult result = admin.createTopics(List.of(topic), new CreateTopicsOptions().validateOnly(true));
        result.all().get();
        Extras.same(result.numPartitions("validated").get(), 3);
        Extras.require(!admin.listTopics().names().get().contains("validated"), "the topic exists");
    }

    private void describeTopics() throws Exception {
        DescribeTopicsOptions pages = new DescribeTopicsOptions().partitionSizeLimitPerResponse(2);
        TopicDescription topic = admin.describeTopics(List.of(TOPIC), pages).allTopicNames().get().get(TOPIC);
        Extras.same(topic.topicId(), topicId);
        Extras.same(topic.isInternal(), false);
        Extras.same(topic.partitions().size(), 5);
        topic.partitions().forEach(partition -> {
            Extras.same(partition.leader().id(), node);
            Extras.same(partition.replicas(), List.of(partition.leader()));
            Extras.same(partition.isr(), List.of(partition.leader()));
        });
        Extras.same(topic.partitions().get(4).partition(), 4);
        TopicCollection ids = TopicCollection.ofTopicIds(List.of(topicId));
        Extras.same(admin.describeTopics(ids).allTopicIds().get().get(topicId).name(), TOPIC);
    }

    private void listTopics() throws Exception {
        Extras.same(admin.listTopics().namesToListings().get().get(TOPIC).topicId(), topicId);
    }

    private void createPartitions() throws Exception {
        Map<String, NewPartitions> six = Map.of(TOPIC, NewPartitions.increaseTo(6));
        admin.createPartitions(six, new CreatePartitionsOptions().validateOnly(true)).all().get();
        Extras.same(partitions(TOPIC), 5);
        admin.createPartitions(six).all().get();
        Extras.same(partitions(TOPIC), 6);
        admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(7, List.of(List.of(node))))).all().get();
        Extras.same(partitions(TOPIC), 7);
    }

    private int partitions(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
    }

    private void describeTopicConfigs() throws Exception {
        Config config = config(topic(), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true));
        ConfigEntry retention = config.get("retention.ms");
        Extras.same(retention.value(), "86400000");
        Extras.same(retention.type(), ConfigType.LONG);
        Extras.same(retention.source(), ConfigSource.DYNAMIC_TOPIC_CONFIG);
        Extras.same(retention.isReadOnly(), false);
        Extras.same(retention.isSensitive(), false);
        Extras.require(retention.documentation() != null && retention.documentation().length() > 20, retention.documentation());
        Extras.same(retention.synonyms().get(0).name() + "=" + retention.synonyms().get(0).value(), "retention.ms=86400000");
        Extras.same(retention.synonyms().get(retention.synonyms().size() - 1).source(), ConfigSource.DEFAULT_CONFIG);
        Extras.same(config.get("max.message.bytes").type(), ConfigType.INT);
        Extras.same(config.get("max.message.bytes").isDefault(), true);
        Extras.same(config.get("cleanup.policy").type(), ConfigType.LIST);
        Extras.same(config.get("preallocate").type(), ConfigType.BOOLEAN);
        Extras.same(config.get("min.cleanable.dirty.ratio").type(), ConfigType.DOUBLE);
        Extras.same(config.get("compression.type").type(), ConfigType.STRING);
        for (ConfigEntry entry : config.entries()) {
            Extras.require(entry.type() != ConfigType.UNKNOWN && entry.source() != ConfigSource.UNKNOWN, entry);
        }
        Extras.require(config.entries().size() >= 30, "only " + config.entries().size() + " topic configs");
        Extras.same(config(topic(), new DescribeConfigsOptions()).get("retention.ms").synonyms(), List.of());
    }

    private void alterTopicConfigs() throws Exception {
        alter(topic(), set("retention.ms", "3600000"), set("max.message.bytes", "500000"), change("segment.bytes", "", OpType.DELETE));
        Config config = config(topic(), new DescribeConfigsOptions());
        Extras.same(config.get("retention.ms").value(), "3600000");
        Extras.same(config.get("max.message.bytes").value(), "500000");
        Extras.same(config.get("segment.bytes").value(), "1073741824");
        Extras.same(config.get("segment.bytes").source(), ConfigSource.DEFAULT_CONFIG);
        alter(topic(), change("max.message.bytes", "", OpType.DELETE), change("cleanup.policy", "delete", OpType.APPEND));
        Extras.same(config(topic(), new DescribeConfigsOptions()).get("cleanup.policy").value(), "delete");
    }

    private void validateTopicConfigs() throws Exception {
        Map<ConfigResource, Collection<AlterConfigOp>> changes = Map.of(topic(), List.of(set("retention.ms", "7")));
        admin.incrementalAlterConfigs(changes, new AlterConfigsOptions().validateOnly(true)).all().get();
        Extras.same(config(topic(), new DescribeConfigsOptions()).get("retention.ms").value(), "3600000");
    }

    private void describeBrokerConfigs() throws Exception {
        Config config = config(broker(), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true));
        Extras.same(config.get("num.partitions").value(), "1");
        Extras.same(config.get("num.partitions").type(), ConfigType.INT);
        Extras.same(config.get("node.id").value(), Integer.toString(node));
        Extras.same(config.get("node.id").isReadOnly(), true);
        Extras.require(config.get("log.dirs") != null && config.get("log.retention.ms") != null, "log.dirs or log.retention.ms is missing");
        Extras.require(config.get("num.partitions").documentation() != null, "num.partitions has no words");
    }

    private void alterBrokerConfigs() throws Exception {
        ConfigResource all = new ConfigResource(ConfigResource.Type.BROKER, "");
        alter(all, set("num.partitions", "3"));
        Extras.same(config(all, new DescribeConfigsOptions()).get("num.partitions").value(), "3");
        Extras.same(config(broker(), new DescribeConfigsOptions()).get("num.partitions").source(), ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG);
        admin.createTopics(List.of(new NewTopic("three", Optional.empty(), Optional.empty()))).all().get();
        Extras.same(partitions("three"), 3);
        alter(broker(), set("num.partitions", "2"));
        Config own = config(broker(), new DescribeConfigsOptions().includeSynonyms(true));
        Extras.same(own.get("num.partitions").value(), "2");
        Extras.same(own.get("num.partitions").source(), ConfigSource.DYNAMIC_BROKER_CONFIG);
        List<ConfigSource> sources = new ArrayList<>();
        own.get("num.partitions").synonyms().forEach(synonym -> sources.add(synonym.source()));
        Extras.same(sources, List.of(ConfigSource.DYNAMIC_BROKER_CONFIG, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, ConfigSource.DEFAULT_CONFIG));
        alter(all, change("num.partitions", "", OpType.DELETE));
        alter(broker(), change("num.partitions", "", OpType.DELETE));
        Extras.same(config(broker(), new DescribeConfigsOptions()).get("num.partitions").value(), "1");
        admin.deleteTopics(List.of("three")).all().get();
    }

    private void listConfigResources() throws Exception {
        Set<ConfigResource> found = new HashSet<>(admin.listConfigResources().all().get());
        Extras.require(found.contains(topic()) && found.contains(broker()), found);
        Set<ConfigResource.Type> topics = Set.of(ConfigResource.Type.TOPIC);
        Collection<ConfigResource> some = admin.listConfigResources(topics, new ListConfigResourcesOptions()).all().get();
        Extras.require(some.contains(topic()) && !some.contains(broker()), some);
        Set<ConfigResource.Type> metrics = Set.of(ConfigResource.Type.CLIENT_METRICS);
        Extras.same(new HashSet<>(admin.listConfigResources(metrics, new ListConfigResourcesOptions()).all().get()), Set.of());
    }

    private void describeProducers() throws Exception {
        TopicPartition partition = new TopicPartition(TOPIC, 0);
        Extras.same(admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers(), List.of());
        long before = System.currentTimeMillis();
        write(TOPIC, 10);
        List<ProducerState> found = admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
        Extras.same(found.size(), 1);
        Extras.require(found.get(0).producerId() >= 0 && found.get(0).producerEpoch() == 0, found);
        Extras.same(found.get(0).lastSequence(), 9);
        Extras.require(found.get(0).lastTimestamp() >= before, found);
        Extras.same(found.get(0).currentTransactionStartOffset().isPresent(), false);
    }

    private void describeLogDirs() throws Exception {
        Map<String, LogDirDescription> found = admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node);
        Extras.same(found.size(), 1);
        LogDirDescription folder = found.values().iterator().next();
        Extras.same(folder.error(), null);
        Extras.require(folder.replicaInfos().get(new TopicPartition(TOPIC, 0)).size() > 100, folder);
        Extras.same(folder.replicaInfos().get(new TopicPartition(TOPIC, 6)).size(), 0L);
        Extras.require(folder.totalBytes().getAsLong() > folder.usableBytes().getAsLong(), folder);
        Extras.require(folder.usableBytes().getAsLong() > 0, folder);
        TopicPartitionReplica replica = new TopicPartitionReplica(TOPIC, 0, node);
        Extras.same(Set.of(admin.describeReplicaLogDirs(List.of(replica)).all().get().get(replica).getCurrentReplicaLogDir()), found.keySet());
    }

    private void deleteRecords() throws Exception {
        TopicPartition partition = new TopicPartition(TOPIC, 0);
        Extras.same(deleteBefore(partition, 4), 4L);
        Extras.same(deleteBefore(partition, 2), 4L);
        Extras.same(deleteBefore(partition, -1), 10L);
        write(TOPIC, 3);
        Extras.same(deleteBefore(partition, 12), 12L);
    }

    private long deleteBefore(TopicPartition partition, long offset) throws Exception {
        return admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(offset))).lowWatermarks().get(partition).get().lowWatermark();
    }

    private void recreate() throws Exception {
        write("reborn", 5);
        Uuid first = admin.listTopics().namesToListings().get().get("reborn").topicId();
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(first))).all().get();
        Extras.require(!admin.listTopics().names().get().contains("reborn"), "the topic is still listed");
        CreateTopicsResult again = admin.createTopics(List.of(new NewTopic("reborn", 1, (short) 1)));
        Extras.require(!again.topicId("reborn").get().equals(first), "the same id");
        Extras.same(write("reborn", 1), 0L);
    }

    /** Writes to partition 0 as an idempotent producer; the last record's offset. */
    private long write(String topic, int count) throws Exception {
        Properties settings = Driver.settings(address);
        settings.put("linger.ms", "50");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 1; i < count; i++) {
                producer.send(new ProducerRecord<>(topic, 0, "key", "a value"));
            }
            return producer.send(new ProducerRecord<>(topic, 0, "key", "the last value")).get().offset();
        }
    }

    private ConfigResource topic() {
        return new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
    }

    private ConfigResource broker() {
        return new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(node));
    }

    private Config config(ConfigResource resource, DescribeConfigsOptions options) throws Exception {
        return admin.describeConfigs(List.of(resource), options).all().get().get(resource);
    }

    private void alter(ConfigResource resource, AlterConfigOp... changes) throws ExecutionException, InterruptedException {
        admin.incrementalAlterConfigs(Map.of(resource, List.of(changes))).all().get();
    }

    static AlterConfigOp set(String name, String value) {
        return change(name, value, OpType.SET);
    }

    static AlterConfigOp change(String name, String value, OpType how) {
        return new AlterConfigOp(new ConfigEntry(name, value), how);
    }
}
