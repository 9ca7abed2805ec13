package com.example.logs;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.springframework.boot.ApplicationArguments;
import org.springframework.boot.ApplicationRunner;
import org.springframework.stereotype.Component;

/** Sends each line of standard input: the first word is the key, what follows is the value. */
@Component
public class Console implements ApplicationRunner {
    private final LoggingProducer producer;

    public Console(LoggingProducer producer) {
        this.producer = producer;
    }

    @Override
    public void run(ApplicationArguments arguments) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ", 2);
            producer.sendMessage(words[0], words.length == 2 ? words[1] : "");
        }
    }
}
