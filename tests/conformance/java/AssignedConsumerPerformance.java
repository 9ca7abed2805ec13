package org.apache.kafka.tools;

import java.util.Collection;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** Kafka's ConsumerPerformance with a consumer that assigns itself every partition from the start, in place of joining a group. */
public class AssignedConsumerPerformance {
    static class AssignedConsumer extends KafkaConsumer<byte[], byte[]> {
        AssignedConsumer(Properties properties) {
            super(properties);
        }

        @Override
        public void subscribe(Collection<String> topics, ConsumerRebalanceListener listener) {
            List<TopicPartition> partitions = topics.stream()
                .flatMap(topic -> partitionsFor(topic).stream())
                .map(info -> new TopicPartition(info.topic(), info.partition()))
                .toList();
            assign(partitions);
            seekToBeginning(partitions);
        }
    }

    public static void main(String[] arguments) {
        ConsumerPerformance.run(arguments, AssignedConsumer::new);
    }
}
