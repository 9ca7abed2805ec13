package com.example.logs;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/** A producer and a consumer in one program: what is typed goes to a topic, and what comes from there is printed. */
@SpringBootApplication
public class LogsApplication {
    public static void main(String[] args) {
        SpringApplication.run(LogsApplication.class, args);
    }
}
