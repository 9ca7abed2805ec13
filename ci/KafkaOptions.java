// Prints the options that Apache Kafka has, one a line, for tests/data/kafka_options.tsv: level, name, type, default, and for
// topics the broker-level names behind each. Run: java -cp "JARS/*" ci/KafkaOptions.java

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.common.config.ConfigDef;

public class KafkaOptions {
    static void print(String level, ConfigDef definition, Map<String, String> synonyms) {
        for (ConfigDef.ConfigKey key : new TreeMap<>(definition.configKeys()).values()) {
            String fallback = key.defaultValue instanceof List ? String.join(",", (List<String>) key.defaultValue)
                : key.hasDefault() ? String.valueOf(key.defaultValue) : "required";
            System.out.println(String.join("\t", level, key.name, key.type.name().toLowerCase(), fallback, synonyms.getOrDefault(key.name, "")));
        }
    }

    public static void main(String[] arguments) throws Exception {
        Map<String, List<Object>> all = (Map<String, List<Object>>)
            Class.forName("org.apache.kafka.server.config.ServerTopicConfigSynonyms").getField("ALL_TOPIC_CONFIG_SYNONYMS").get(null);
        Map<String, String> synonyms = new TreeMap<>();
        for (Map.Entry<String, List<Object>> entry : all.entrySet()) {
            synonyms.put(entry.getKey(), entry.getValue().stream().map(synonym -> {
                try {
                    return (String) synonym.getClass().getMethod("name").invoke(synonym);
                } catch (ReflectiveOperationException error) {
                    throw new RuntimeException(error);
                }
            }).collect(Collectors.joining(",")));
        }
        print("broker", (ConfigDef) Class.forName("org.apache.kafka.server.config.AbstractKafkaConfig").getField("CONFIG_DEF").get(null), Map.of());
        print("topic", (ConfigDef) Class.forName("org.apache.kafka.storage.internals.log.LogConfig").getMethod("configDefCopy").invoke(null), synonyms);
    }
}
