// Compares the configs that a broker tells of a topic with the definitions inside Kafka's own broker code: which there are, their
// types and their defaults. Prints the differences, a line each. Run like one of Kafka's tools, by run.py.
//
// Usage: TopicConfigs --bootstrap-server ADDRESS --topic TOPIC; the topic must have no configs of its own.

import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.ConfigKey;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.storage.internals.log.LogConfig;

public final class TopicConfigs {
    private TopicConfigs() {}

    public static void main(String[] arguments) throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, arguments[3]);
        Map<String, ConfigEntry> here = new TreeMap<>();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[1]))) {
            Config config = admin.describeConfigs(List.of(topic)).all().get().get(topic);
            config.entries().forEach(entry -> here.put(entry.name(), entry));
        }
        Map<String, ConfigKey> kafka = new TreeMap<>(LogConfig.configDefCopy().configKeys());
        Set<String> names = new TreeSet<>(here.keySet());
        names.addAll(LogConfig.nonInternalConfigNames());
        for (String name : names) {
            if (!here.containsKey(name)) {
                System.out.println(name + ": only in Kafka");
            } else if (!LogConfig.nonInternalConfigNames().contains(name)) {
                System.out.println(name + ": only here");
            } else {
                compare(here.get(name), kafka.get(name));
            }
        }
    }

    private static void compare(ConfigEntry here, ConfigKey kafka) {
        String wanted = kafka.defaultValue == null ? null : ConfigDef.convertToString(kafka.defaultValue, kafka.type);
        if (!Objects.equals(here.value(), wanted)) {
            System.out.println(here.name() + ": default " + here.value() + " here, " + wanted + " in Kafka");
        }
        if (!here.type().name().equals(kafka.type.name())) {
            System.out.println(here.name() + ": type " + here.type() + " here, " + kafka.type + " in Kafka");
        }
    }
}
