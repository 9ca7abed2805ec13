/* CRC32C for the bench programs: the CPU's instruction, three interleaved streams joined by a carry-less
 * shift table. Independent of fastlog's own implementation, so that the one checks the other. */
#ifndef BENCH_CRC32C_H
#define BENCH_CRC32C_H
#include <nmmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CRC_STREAM_BYTES = 1024 };
static uint32_t crc_shift_table[4][256]; /* advances a CRC over CRC_STREAM_BYTES zero bytes */

static uint32_t crc_advance_bit_by_bit(uint32_t crc, size_t zero_bytes) {
    for (size_t bit = 0; bit < zero_bytes * 8; bit++) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
    return crc;
}

static void crc32c_prepare(void) {
    uint32_t of_bit[32];
    for (int bit = 0; bit < 32; bit++) of_bit[bit] = crc_advance_bit_by_bit(1u << bit, CRC_STREAM_BYTES);
    for (int byte = 0; byte < 4; byte++)
        for (int value = 0; value < 256; value++) {
            uint32_t sum = 0;
            for (int bit = 0; bit < 8; bit++) if (value >> bit & 1) sum ^= of_bit[byte * 8 + bit];
            crc_shift_table[byte][value] = sum;
        }
}

static inline uint32_t crc_shift(uint32_t crc) {
    return crc_shift_table[0][crc & 255] ^ crc_shift_table[1][crc >> 8 & 255] ^ crc_shift_table[2][crc >> 16 & 255] ^
           crc_shift_table[3][crc >> 24];
}

static inline uint64_t load64(const unsigned char *from) { uint64_t word; memcpy(&word, from, 8); return word; }

static uint32_t crc32c(const unsigned char *data, size_t size) {
    uint64_t first = 0xffffffffu;
    for (; size >= 3 * CRC_STREAM_BYTES; data += 3 * CRC_STREAM_BYTES, size -= 3 * CRC_STREAM_BYTES) {
        uint64_t second = 0, third = 0;
        for (int at = 0; at < CRC_STREAM_BYTES; at += 8) {
            first = _mm_crc32_u64(first, load64(data + at));
            second = _mm_crc32_u64(second, load64(data + CRC_STREAM_BYTES + at));
            third = _mm_crc32_u64(third, load64(data + 2 * CRC_STREAM_BYTES + at));
        }
        first = crc_shift(crc_shift((uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    for (; size >= 8; data += 8, size -= 8) first = _mm_crc32_u64(first, load64(data));
    uint32_t crc = (uint32_t)first;
    for (; size; data++, size--) crc = _mm_crc32_u8(crc, *data);
    return ~crc;
}
#endif
