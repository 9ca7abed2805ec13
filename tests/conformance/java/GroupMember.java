import java.time.Duration;
import java.util.Collection;
import java.util.Collections;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** A member of a group: prints what it owns and what it reads, until its input ends; then it commits and leaves. */
public class GroupMember {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", args[0]);
        properties.put("group.id", args[1]);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("session.timeout.ms", "6000");
        properties.put("heartbeat.interval.ms", "300");
        properties.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        properties.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        if (args.length > 3) {
            properties.put("partition.assignment.strategy", args[3]);
        }
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(properties)) {
            ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    StringBuilder owned = new StringBuilder("owns");
                    consumer.assignment().stream().map(TopicPartition::partition).sorted().forEach(p -> owned.append(' ').append(p));
                    System.out.println(owned);
                }
            };
            consumer.subscribe(Collections.singletonList(args[2]), listener);
            while (System.in.available() == 0) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
                    System.out.println("read " + record.partition() + " " + record.offset());
                }
            }
            consumer.commitSync();
        }
    }
}
