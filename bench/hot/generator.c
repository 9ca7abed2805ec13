/* A load that costs next to nothing itself: one connection, one pre-encoded Produce v12 request (acks=1) sent again and
 * again with a new correlation id, so many in flight. Every answer's error code is looked at.
 *
 * usage: generator PORT TOPIC RECORDS_PER_REQUEST IN_FLIGHT REQUESTS RECORD_BYTES
 * prints one JSON line: requests, seconds, requests_per_s, bytes_per_s, p50_us, p99_us
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"
#include "frames.h"

enum { MAX_IN_FLIGHT = 64, ANSWERS_BYTES = 64 << 10 };

static void die(const char *what) { perror(what); exit(1); }

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static unsigned char *put_batch(unsigned char *batch, int count, int record_bytes) {
    unsigned char *p = batch + BATCH_OVERHEAD;
    for (int i = 0; i < count; i++) {
        unsigned char body[16], *q = body;
        q = put8(q, 0);           /* attributes */
        q = put_varint(q, 0);     /* timestamp delta */
        q = put_varint(q, i);     /* offset delta */
        q = put_varint(q, -1);    /* no key */
        q = put_varint(q, record_bytes);
        size_t head = (size_t)(q - body);
        p = put_varint(p, (int32_t)head + record_bytes + 1);
        memcpy(p, body, head);
        p += head;
        for (int j = 0; j < record_bytes; j++) *p++ = (unsigned char)('a' + (i + j) % 26);
        p = put_varint(p, 0);     /* no headers */
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t wall_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    put64(batch, 0);
    put32(batch + 8, (uint32_t)(p - batch - 12));
    put32(batch + 12, (uint32_t)-1);
    batch[16] = 2; /* magic */
    put16(batch + 21, 0);
    put32(batch + 23, (uint32_t)count - 1);
    put64(batch + 27, wall_ms);
    put64(batch + 35, wall_ms);
    put64(batch + 43, (uint64_t)-1);
    put16(batch + 51, -1);
    put32(batch + 53, (uint32_t)-1);
    put32(batch + 57, (uint32_t)count);
    put32(batch + BATCH_CRC_AT, crc32c(batch + BATCH_COVERED_AT, (size_t)(p - batch) - BATCH_COVERED_AT));
    return p;
}

/* Returns the error code in a Produce v12 answer (after its size field), -1000 when it is malformed. */
static int error_code(const unsigned char *answer, size_t size) {
    const unsigned char *end = answer + size, *p = answer + 5;
    uint32_t value, topic_size;
    if (size < 32 || !(p = get_uvarint(p, end, &value)) || value != 2 || !(p = get_uvarint(p, end, &topic_size))) return -1000;
    p += topic_size - 1;
    if (p + 7 > end || !(p = get_uvarint(p, end, &value)) || value != 2) return -1000;
    return (int16_t)get16(p + 4);
}

int main(int argc, char **argv) {
    if (argc != 7) { fprintf(stderr, "usage: generator PORT TOPIC RECORDS_PER_REQUEST IN_FLIGHT REQUESTS RECORD_BYTES\n"); return 2; }
    int records = atoi(argv[3]), in_flight = atoi(argv[4]), requests = atoi(argv[5]), record_bytes = atoi(argv[6]);
    if (in_flight < 1 || in_flight > MAX_IN_FLIGHT || requests < in_flight) return 2;
    crc32c_prepare();

    size_t batch_room = BATCH_OVERHEAD + (size_t)records * ((size_t)record_bytes + 32);
    unsigned char *batch = malloc(batch_room);
    size_t batch_size = (size_t)(put_batch(batch, records, record_bytes) - batch);
    unsigned char *frame = malloc(batch_size + 1024), *p = frame + 4;
    p = put16(p, 0);
    p = put16(p, PRODUCE_VERSION);
    p = put32(p, 0);
    p = put16(p, 5);
    memcpy(p, "bench", 5);
    p += 5;
    p = put8(p, 0);
    p = put8(p, 0);       /* no transactional id */
    p = put16(p, 1);      /* acks */
    p = put32(p, 30000);  /* timeout, ms */
    p = put8(p, 2);
    p = put_compact_string(p, argv[2]);
    p = put8(p, 2);
    p = put32(p, 0);      /* partition */
    p = put_uvarint(p, (uint32_t)batch_size + 1);
    memcpy(p, batch, batch_size);
    p += batch_size;
    p = put8(put8(put8(p, 0), 0), 0);
    size_t frame_size = (size_t)(p - frame);
    put32(frame, (uint32_t)frame_size - 4);

    /* IN_FLIGHT copies side by side, so that any run of requests is one send. */
    unsigned char *frames = malloc(frame_size * (size_t)in_flight);
    for (int i = 0; i < in_flight; i++) memcpy(frames + (size_t)i * frame_size, frame, frame_size);

    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);

    float *latency_us = malloc(sizeof *latency_us * (size_t)requests);
    double sent_at_us[MAX_IN_FLIGHT];
    unsigned char *answers = malloc(ANSWERS_BYTES);
    size_t answers_size = 0;
    int sent = 0, answered = 0, to_send = in_flight;
    double began_us = now_us();
    while (answered < requests) {
        if (to_send > requests - sent) to_send = requests - sent;
        double at_us = now_us();
        while (to_send) {
            int slot = sent % in_flight, run = in_flight - slot < to_send ? in_flight - slot : to_send;
            unsigned char *from = frames + (size_t)slot * frame_size;
            for (int i = 0; i < run; i++) {
                put32(from + (size_t)i * frame_size + 8, (uint32_t)(sent + i));
                sent_at_us[slot + i] = at_us;
            }
            for (size_t left = (size_t)run * frame_size, done = 0; done < left;) {
                ssize_t count = send(fd, from + done, left - done, MSG_NOSIGNAL);
                if (count < 0) die("send");
                done += (size_t)count;
            }
            sent += run;
            to_send -= run;
        }
        ssize_t count = recv(fd, answers + answers_size, ANSWERS_BYTES - answers_size, 0);
        if (count <= 0) die("recv");
        answers_size += (size_t)count;
        size_t at = 0;
        at_us = now_us();
        while (answers_size - at >= 4 && answers_size - at - 4 >= get32(answers + at)) {
            size_t size = get32(answers + at);
            int error = error_code(answers + at + 4, size);
            if (error || get32(answers + at + 4) != (uint32_t)answered) {
                fprintf(stderr, "request %d: error code %d\n", answered, error);
                return 1;
            }
            latency_us[answered] = (float)(at_us - sent_at_us[answered % in_flight]);
            answered++;
            to_send++;
            at += 4 + size;
        }
        memmove(answers, answers + at, answers_size - at);
        answers_size -= at;
    }
    double seconds = (now_us() - began_us) / 1e6;
    qsort(latency_us, (size_t)requests, sizeof *latency_us, by_value);
    printf("{\"requests\": %d, \"seconds\": %.4f, \"requests_per_s\": %.1f, \"bytes_per_s\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           requests, seconds, requests / seconds, (double)batch_size * requests / seconds, latency_us[requests / 2], latency_us[(size_t)requests * 99 / 100]);
    return 0;
}
