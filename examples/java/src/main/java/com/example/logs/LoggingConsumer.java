package com.example.logs;

import jakarta.annotation.PostConstruct;
import jakarta.annotation.PreDestroy;
import java.time.Duration;
import java.util.Collections;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Component;

/**
 * Prints every record of one topic that falls to it as a member of the group my-group.
 *
 * A KafkaConsumer belongs to one thread: all but wakeup happens in run.
 */
@Component
public class LoggingConsumer {
    private final String topic;
    private final KafkaConsumer<String, String> consumer;
    private final Thread thread = new Thread(this::run, "logging-consumer");

    public LoggingConsumer(
            @Value("${kafka.bootstrap-servers}") String bootstrapServers, @Value("${kafka.topic}") String topic) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrapServers);
        properties.put("group.id", "my-group");
        properties.put("auto.offset.reset", "earliest");
        properties.put("key.deserializer", StringDeserializer.class.getName());
        properties.put("value.deserializer", StringDeserializer.class.getName());
        this.topic = topic;
        this.consumer = new KafkaConsumer<>(properties);
    }

    @PostConstruct
    public void start() {
        thread.start();
    }

    private void run() {
        try (consumer) { // closing commits what was read, and leaves the group
            consumer.subscribe(Collections.singletonList(topic));
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofSeconds(1));
                for (ConsumerRecord<String, String> record : records) {
                    System.out.printf(
                            "received: partition=%d offset=%d key=%s value=%s%n",
                            record.partition(), record.offset(), record.key(), record.value());
                }
            }
        } catch (WakeupException stopped) {
            // by close: nothing is wrong
        }
    }

    @PreDestroy
    public void close() throws InterruptedException {
        consumer.wakeup();
        thread.join();
    }
}
