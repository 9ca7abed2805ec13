package com.example.logs;

import jakarta.annotation.PreDestroy;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Component;

/** Sends messages to one topic, and prints what became of each. */
@Component
public class LoggingProducer {
    private final String topic;
    private final KafkaProducer<String, String> producer;

    public LoggingProducer(
            @Value("${kafka.bootstrap-servers}") String bootstrapServers, @Value("${kafka.topic}") String topic) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrapServers);
        properties.put("key.serializer", StringSerializer.class.getName());
        properties.put("value.serializer", StringSerializer.class.getName());
        this.topic = topic;
        this.producer = new KafkaProducer<>(properties);
    }

    /** Send a message without waiting for it; the callback runs when the broker has answered. */
    public void sendMessage(String key, String value) {
        producer.send(new ProducerRecord<>(topic, key, value), (metadata, exception) -> {
            if (exception != null) {
                exception.printStackTrace();
            } else {
                System.out.printf("sent: partition=%d offset=%d%n", metadata.partition(), metadata.offset());
            }
        });
    }

    /** Wait until all that was sent has been answered. */
    @PreDestroy
    public void close() {
        producer.close();
    }
}
