import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/** Kafka's own client: a request a line on stdin, its answer a line on stdout, as python/driver.py says. Runs with 3.9's jars and 4's. */
public class ClientDriver {
    private static final int TIMEOUT_S = 30;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String bootstrap;
    private final Admin admin;
    /** The member of a group that this process is at present. */
    private KafkaConsumer<byte[], byte[]> member;

    ClientDriver(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        ClientDriver driver = new ClientDriver(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer = new HashMap<>();
            try {
                answer.put("ok", driver.run(JSON.readTree(line)));
            } catch (Exception exception) {
                Throwable cause = exception;
                while (cause.getCause() != null && (cause instanceof ExecutionException || cause instanceof ReflectiveOperationException)) {
                    cause = cause.getCause();
                }
                Map<String, Object> error = new HashMap<>();
                error.put("code", Errors.forException(cause).code());
                error.put("message", cause.toString());
                answer.put("error", error);
            }
            out.println(JSON.writeValueAsString(answer));
        }
        driver.admin.close();
    }

    private Object run(JsonNode request) throws Exception {
        switch (request.get("op").asText()) {
            case "version": return Map.of("version", AppInfoParser.getVersion());
            case "produce": return produce(request);
            case "consume": return consume(request);
            case "group_join": return groupJoin(request);
            case "group_poll": return groupPoll(request);
            case "group_commit": return groupCommit();
            case "group_leave": return groupLeave();
            case "list_offset": return listOffset(request);
            case "create_topic": return createTopic(request);
            case "list_topics": return Map.of("topics", new TreeSet<>(get(admin.listTopics().names())));
            case "describe_topic": return describeTopic(request);
            case "delete_topic": return done(admin.deleteTopics(List.of(topic(request))).all());
            case "create_partitions": return done(admin.createPartitions(
                Map.of(topic(request), NewPartitions.increaseTo(request.get("total").asInt()))).all());
            case "delete_records": return deleteRecords(request);
            case "describe_configs": return describeConfigs(request);
            case "alter_configs": return alterConfigs(request);
            case "incremental_alter_configs": return incrementalAlterConfigs(request);
            case "describe_cluster": return describeCluster();
            case "list_config_resources": return listConfigResources();
            case "describe_log_dirs": return describeLogDirs();
            case "describe_producers": return describeProducers(request);
            case "list_groups": return Map.of("groups", new TreeSet<>(
                get(admin.listConsumerGroups().all()).stream().map(ConsumerGroupListing::groupId).toList()));
            case "describe_group": return describeGroup(group(request));
            case "group_offset": return groupOffset(request);
            case "alter_group_offset": return done(admin.alterConsumerGroupOffsets(group(request),
                Map.of(partition(request), new OffsetAndMetadata(request.get("offset").asLong()))).all());
            case "delete_group_offset": return done(
                admin.deleteConsumerGroupOffsets(group(request), Set.of(partition(request))).all());
            case "delete_group": return done(admin.deleteConsumerGroups(List.of(group(request))).all());
            default: throw new IllegalArgumentException("unknown operation " + request);
        }
    }

    private static <T> T get(Future<T> future) throws InterruptedException, ExecutionException, TimeoutException {
        return future.get(TIMEOUT_S, TimeUnit.SECONDS);
    }

    private static Object done(Future<Void> future) throws Exception {
        get(future);
        return Map.of();
    }

    private static String topic(JsonNode request) {
        return request.get("topic").asText();
    }

    private static String group(JsonNode request) {
        return request.get("group").asText();
    }

    private static TopicPartition partition(JsonNode request) {
        return new TopicPartition(topic(request), request.get("partition").asInt());
    }

    private static byte[] decoded(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static String encoded(byte[] data) {
        return data == null ? null : Base64.getEncoder().encodeToString(data);
    }

    private static Map<String, String> strings(JsonNode object) {
        Map<String, String> strings = new HashMap<>();
        object.fields().forEachRemaining(field -> strings.put(field.getKey(), field.getValue().asText()));
        return strings;
    }

    private static List<Integer> ids(Collection<Node> nodes) {
        return nodes.stream().map(Node::id).toList();
    }

    private Object produce(JsonNode request) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap,
            "compression.type", request.get("codec").asText(),
            "acks", request.get("acks").asText(),
            "enable.idempotence", request.get("idempotent").asBoolean(),
            "linger.ms", 50,
            "max.request.size", 20_000_000,
            "request.timeout.ms", TIMEOUT_S * 500,
            "delivery.timeout.ms", TIMEOUT_S * 1000);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer =
                 new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode record : request.get("records")) {
                List<Header> headers = new ArrayList<>();
                record.get("headers").forEach(header -> headers.add(new RecordHeader(header.get(0).asText(), decoded(header.get(1)))));
                Integer partition = request.hasNonNull("partition") ? request.get("partition").asInt() : null;
                Long timestamp = record.hasNonNull("timestamp") ? record.get("timestamp").asLong() : null;
                sent.add(producer.send(new ProducerRecord<>(topic(request), partition, timestamp,
                    decoded(record.get("key")), decoded(record.get("value")), headers)));
            }
            List<Long> offsets = new ArrayList<>();
            for (Future<RecordMetadata> one : sent) {
                offsets.add(get(one).offset());
            }
            return Map.of("offsets", offsets);
        }
    }

    private Object consume(JsonNode request) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap, "enable.auto.commit", false, "auto.offset.reset", "none");
        int count = request.get("count").asInt();
        List<Object> records = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer =
                 new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition partition = partition(request);
            consumer.assign(List.of(partition));
            if (request.has("offset")) {
                consumer.seek(partition, request.get("offset").asLong());
            } else if (request.has("time")) {
                consumer.seek(partition, consumer.offsetsForTimes(Map.of(partition, request.get("time").asLong())).get(partition).offset());
            } else {
                consumer.seekToBeginning(List.of(partition));
            }
            while (records.size() < count) {
                Collection<ConsumerRecord<byte[], byte[]>> polled = new ArrayList<>();
                consumer.poll(Duration.ofSeconds(TIMEOUT_S)).forEach(polled::add);
                if (polled.isEmpty()) {
                    throw new TimeoutException(records.size() + " of " + count + " records came");
                }
                for (ConsumerRecord<byte[], byte[]> record : polled) {
                    List<Object> headers = new ArrayList<>();
                    record.headers().forEach(header -> headers.add(Arrays.asList(header.key(), encoded(header.value()))));
                    Map<String, Object> answer = new LinkedHashMap<>();
                    answer.put("offset", record.offset());
                    answer.put("timestamp", record.timestamp());
                    answer.put("key", encoded(record.key()));
                    answer.put("value", encoded(record.value()));
                    answer.put("headers", headers);
                    records.add(answer);
                }
            }
        }
        return Map.of("records", records.subList(0, count));
    }

    private Object groupJoin(JsonNode request) {
        Map<String, Object> settings = new HashMap<>(Map.of(
            "bootstrap.servers", bootstrap,
            "group.id", request.get("group").asText(),
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false,
            "session.timeout.ms", request.get("session_ms").asInt(),
            "heartbeat.interval.ms", request.get("heartbeat_ms").asInt()));
        if (request.hasNonNull("instance")) {
            settings.put("group.instance.id", request.get("instance").asText());
        }
        if (request.path("cooperative").asBoolean()) {
            settings.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        }
        member = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        member.subscribe(List.of(topic(request)));
        return Map.of();
    }

    private Object groupPoll(JsonNode request) {
        List<Object> records = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> one : member.poll(Duration.ofMillis(request.get("ms").asInt()))) {
            records.add(Arrays.asList(one.partition(), one.offset(), encoded(one.key()), encoded(one.value())));
        }
        return Map.of("records", records, "owned", member.assignment().stream().map(TopicPartition::partition).sorted().toList());
    }

    private Object groupCommit() {
        member.commitSync(Duration.ofSeconds(TIMEOUT_S));
        return Map.of();
    }

    private Object groupLeave() {
        member.close();
        return Map.of();
    }

    private Object listOffset(JsonNode request) throws Exception {
        OffsetSpec spec = switch (request.get("at").asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            default -> OffsetSpec.forTimestamp(request.get("at").asLong());
        };
        return Map.of("offset", get(admin.listOffsets(Map.of(partition(request), spec)).partitionResult(partition(request))).offset());
    }

    private Object createTopic(JsonNode request) throws Exception {
        NewTopic topic = new NewTopic(topic(request), request.get("partitions").asInt(), (short) 1);
        return done(admin.createTopics(List.of(topic.configs(strings(request.get("configs"))))).all());
    }

    private Object describeTopic(JsonNode request) throws Exception {
        return Map.of("partitions", get(admin.describeTopics(List.of(topic(request))).allTopicNames()).get(topic(request)).partitions().stream()
            .map(one -> List.of(one.partition(), one.leader().id(), ids(one.replicas()), ids(one.isr()))).toList());
    }

    private Object deleteRecords(JsonNode request) throws Exception {
        RecordsToDelete before = RecordsToDelete.beforeOffset(request.get("before").asLong());
        return Map.of("low_watermark",
            get(admin.deleteRecords(Map.of(partition(request), before)).lowWatermarks().get(partition(request))).lowWatermark());
    }

    private static ConfigResource resource(JsonNode request) {
        return new ConfigResource(ConfigResource.Type.valueOf(request.get("type").asText().toUpperCase()), request.get("name").asText());
    }

    private Object describeConfigs(JsonNode request) throws Exception {
        Map<String, String> values = new TreeMap<>();
        for (ConfigEntry entry : get(admin.describeConfigs(List.of(resource(request))).all()).get(resource(request)).entries()) {
            values.put(entry.name(), entry.value());
        }
        return Map.of("configs", values);
    }

    /** The request that replaces all options; version 4 of the client has no method for it any more. */
    private Object alterConfigs(JsonNode request) throws Exception {
        List<ConfigEntry> entries = new ArrayList<>();
        strings(request.get("set")).forEach((name, value) -> entries.add(new ConfigEntry(name, value)));
        Object result = Admin.class.getMethod("alterConfigs", Map.class).invoke(admin, Map.of(resource(request), new Config(entries)));
        get((Future<?>) result.getClass().getMethod("all").invoke(result));
        return Map.of();
    }

    private Object incrementalAlterConfigs(JsonNode request) throws Exception {
        List<AlterConfigOp> operations = new ArrayList<>();
        strings(request.get("set")).forEach(
            (name, value) -> operations.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        request.get("delete").forEach(
            name -> operations.add(new AlterConfigOp(new ConfigEntry(name.asText(), null), AlterConfigOp.OpType.DELETE)));
        return done(admin.incrementalAlterConfigs(Map.of(resource(request), operations)).all());
    }

    private Object describeCluster() throws Exception {
        var cluster = admin.describeCluster();
        return Map.of(
            "cluster_id", get(cluster.clusterId()),
            "controller", get(cluster.controller()).id(),
            "brokers", get(cluster.nodes()).stream().map(node -> List.of(node.id(), node.host(), node.port())).toList());
    }

    /** By reflection: version 3.9 of the client does not have it. */
    private Object listConfigResources() throws Exception {
        Object result = Admin.class.getMethod("listConfigResources").invoke(admin);
        Map<String, TreeSet<String>> resources = new TreeMap<>();
        for (Object one : (Collection<?>) get((Future<?>) result.getClass().getMethod("all").invoke(result))) {
            ConfigResource resource = (ConfigResource) one;
            resources.computeIfAbsent(resource.type().name().toLowerCase(), type -> new TreeSet<>()).add(resource.name());
        }
        return Map.of("resources", resources);
    }

    private Object describeLogDirs() throws Exception {
        Map<String, Long> sizes = new TreeMap<>();
        for (LogDirDescription directory : get(admin.describeLogDirs(List.of(1)).allDescriptions()).get(1).values()) {
            directory.replicaInfos().forEach((partition, replica) -> sizes.put(partition.toString(), replica.size()));
        }
        return Map.of("partitions", sizes);
    }

    private Object describeGroup(String group) throws Exception {
        ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
        return Map.of("state", described.state().toString(), "members", described.members().size());
    }

    private Object groupOffset(JsonNode request) throws Exception {
        OffsetAndMetadata found = get(admin.listConsumerGroupOffsets(group(request)).partitionsToOffsetAndMetadata()).get(partition(request));
        Map<String, Object> answer = new HashMap<>();
        answer.put("offset", found == null ? null : found.offset());
        return answer;
    }

    private Object describeProducers(JsonNode request) throws Exception {
        return Map.of("producers", get(admin.describeProducers(List.of(partition(request))).partitionResult(partition(request))).activeProducers()
            .stream().map(producer -> List.of(producer.producerEpoch(), producer.lastSequence())).toList());
    }
}
