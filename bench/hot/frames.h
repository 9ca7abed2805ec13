/* The few bytes of Kafka's protocol that the bench programs need: Produce v12, one topic, one partition, acks=1. */
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H
#include <stdint.h>
#include <string.h>

enum {
    PRODUCE_VERSION = 12,
    BATCH_OVERHEAD = 61,   /* bytes of a record batch before its records */
    BATCH_CRC_AT = 17,     /* position of the CRC in a batch; it covers what follows it */
    BATCH_COVERED_AT = 21,
    BATCH_LAST_DELTA_AT = 23,
};

static inline uint16_t get16(const unsigned char *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get32(const unsigned char *p) {
    uint32_t value; memcpy(&value, p, 4); return __builtin_bswap32(value);
}
static inline unsigned char *put8(unsigned char *p, int value) { *p = (unsigned char)value; return p + 1; }
static inline unsigned char *put16(unsigned char *p, int value) {
    p[0] = (unsigned char)(value >> 8); p[1] = (unsigned char)value; return p + 2;
}
static inline unsigned char *put32(unsigned char *p, uint32_t value) {
    value = __builtin_bswap32(value); memcpy(p, &value, 4); return p + 4;
}
static inline unsigned char *put64(unsigned char *p, uint64_t value) {
    value = __builtin_bswap64(value); memcpy(p, &value, 8); return p + 8;
}
static inline unsigned char *put_uvarint(unsigned char *p, uint32_t value) {
    for (; value >= 128; value >>= 7) *p++ = (unsigned char)(value | 128);
    *p++ = (unsigned char)value;
    return p;
}
static inline unsigned char *put_varint(unsigned char *p, int32_t value) {
    return put_uvarint(p, (uint32_t)(value << 1) ^ (uint32_t)(value >> 31));
}
static inline unsigned char *put_compact_string(unsigned char *p, const char *text) {
    size_t size = strlen(text);
    p = put_uvarint(p, (uint32_t)size + 1);
    memcpy(p, text, size);
    return p + size;
}
/* Reads an unsigned varint; returns NULL when it runs past `end` or over five bytes. */
static inline const unsigned char *get_uvarint(const unsigned char *p, const unsigned char *end, uint32_t *value) {
    *value = 0;
    for (int shift = 0; shift < 35 && p < end; shift += 7) {
        *value |= (uint32_t)(*p & 127) << shift;
        if (!(*p++ & 128)) return p;
    }
    return NULL;
}
#endif
