/* The yardstick: the least that a log server can do. One epoll thread; per wake-up it receives what is there, checks
 * the CRC of every batch, gives offsets, appends, and answers all requests with one send. No other feature.
 *
 * usage: server DIRECTORY each|gather     prints "port N"
 *   each: one pwrite per request; gather: one pwritev for all requests of a wake-up
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crc32c.h"
#include "frames.h"

enum { CONNECTIONS = 64, RECEIVE_BYTES = 4 << 20, GATHER = 512, ANSWER_BYTES = 128 };

struct connection {
    unsigned char *received;
    size_t count;
};

static int log_file, gathers;
static off_t log_size;
static uint64_t next_offset;
static struct iovec gathered[GATHER];
static int gathered_count;
static size_t gathered_bytes;
static unsigned char answers[GATHER * ANSWER_BYTES];
static size_t answers_size;

static void die(const char *what) { perror(what); exit(1); }

static void append_gathered(void) {
    if (!gathered_count) return;
    if (pwritev(log_file, gathered, gathered_count, log_size) != (ssize_t)gathered_bytes) die("pwritev");
    log_size += (off_t)gathered_bytes;
    gathered_count = 0;
    gathered_bytes = 0;
}

/* Handles one frame (without its size); returns 0 when it is not a Produce v12 with a sound batch. */
static int handle(unsigned char *frame, size_t size) {
    const unsigned char *end = frame + size, *p = frame + 8, *topic;
    uint32_t value, topic_size, records_size;
    if (size < 16 || get16(frame) != 0 || get16(frame + 2) != PRODUCE_VERSION) return 0;
    p += 2 + get16(p);                                    /* client id */
    p += 1 + 1 + 2 + 4;                                   /* tags, transactional id (null), acks, timeout */
    if (p >= end || !(p = get_uvarint(p, end, &value)) || !(p = get_uvarint(p, end, &topic_size))) return 0;
    topic = p;
    p += topic_size - 1;
    if (p >= end || !(p = get_uvarint(p, end, &value))) return 0;
    uint32_t partition = get32(p);
    p += 4;
    if (p >= end || !(p = get_uvarint(p, end, &records_size)) || p + records_size - 1 > end) return 0;
    unsigned char *batch = (unsigned char *)p;
    size_t batch_size = records_size - 1;
    if (batch_size < BATCH_OVERHEAD || get32(batch + 8) + 12 != batch_size) return 0;
    if (crc32c(batch + BATCH_COVERED_AT, batch_size - BATCH_COVERED_AT) != get32(batch + BATCH_CRC_AT)) return 0;

    uint64_t base_offset = next_offset;
    next_offset += get32(batch + BATCH_LAST_DELTA_AT) + 1;
    put64(batch, base_offset);
    put32(batch + 12, 0); /* leader epoch */
    if (gathers) {
        gathered[gathered_count++] = (struct iovec){batch, batch_size};
        gathered_bytes += batch_size;
    } else {
        if (pwrite(log_file, batch, batch_size, log_size) != (ssize_t)batch_size) die("pwrite");
        log_size += (off_t)batch_size;
    }

    unsigned char *answer = answers + answers_size, *q = answer + 4;
    q = put32(q, get32(frame + 4));
    q = put8(q, 0);
    q = put8(q, 2);
    q = put_uvarint(q, topic_size);
    memcpy(q, topic, topic_size - 1);
    q += topic_size - 1;
    q = put8(q, 2);
    q = put32(q, partition);
    q = put16(q, 0);
    q = put64(q, base_offset);
    q = put64(q, (uint64_t)-1);
    q = put64(q, 0);
    q = put8(q, 1); /* no record errors */
    q = put8(q, 0); /* no message */
    q = put8(q, 0);
    q = put8(q, 0);
    q = put32(q, 0);
    q = put8(q, 0);
    put32(answer, (uint32_t)(q - answer - 4));
    answers_size += (size_t)(q - answer);
    return 1;
}

static void send_answers(int socket_) {
    append_gathered();
    for (size_t sent = 0; sent < answers_size;) {
        ssize_t count = send(socket_, answers + sent, answers_size - sent, MSG_NOSIGNAL);
        if (count < 0 && errno != EINTR && errno != EAGAIN) break;
        if (count > 0) sent += (size_t)count;
    }
    answers_size = 0;
}

int main(int argc, char **argv) {
    static struct connection connections[1024];
    if (argc != 3) return 2;
    crc32c_prepare();
    gathers = !strcmp(argv[2], "gather");
    char path[4096];
    snprintf(path, sizeof path, "%s/log", argv[1]);
    if ((log_file = open(path, O_CREAT | O_RDWR | O_TRUNC, 0644)) < 0) die(path);

    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, CONNECTIONS)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &address_size);
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);

    int poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[CONNECTIONS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready_count = epoll_wait(poller, ready, CONNECTIONS, -1);
        for (int i = 0; i < ready_count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (accepted < 0 || accepted >= 1024) die("accept");
                setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                connections[accepted] = (struct connection){malloc(RECEIVE_BYTES), 0};
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = accepted};
                epoll_ctl(poller, EPOLL_CTL_ADD, accepted, &event);
                continue;
            }
            struct connection *c = &connections[fd];
            ssize_t count = recv(fd, c->received + c->count, RECEIVE_BYTES - c->count, 0);
            if (count <= 0) {
                if (count < 0 && errno == EAGAIN) continue;
                close(fd);
                free(c->received);
                continue;
            }
            c->count += (size_t)count;
            size_t at = 0;
            while (c->count - at >= 4) {
                uint32_t size = get32(c->received + at);
                if (size > RECEIVE_BYTES - 4) die("frame too large");
                if (c->count - at - 4 < size) break;
                if (!handle(c->received + at + 4, size)) { fprintf(stderr, "bad request\n"); exit(1); }
                at += 4 + size;
                if (gathered_count == GATHER || answers_size > sizeof answers - 2 * ANSWER_BYTES) send_answers(fd);
            }
            send_answers(fd);
            memmove(c->received, c->received + at, c->count - at);
            c->count -= at;
        }
    }
}
