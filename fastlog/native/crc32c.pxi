# CRC32C (Castagnoli), by the CPU's own instruction where it has one.
#
# The instruction takes 8 bytes in one cycle but answers only after three, so three streams run side by side over thirds of the input.
# They are joined by what a CRC is: a polynomial over GF(2) modulo P. Appending n bytes multiplies the CRC of what came before by
# x^(8n) mod P; so crc(A|B|C) = crc(A) x^(16n) + crc(B) x^(8n) + crc(C) with |B| = |C| = n. On x86 the product is one carry-less multiplication
# and the reduction one more CRC instruction; that pair multiplies by x^33 on its own, so the factors are x^(8n - 33).
# All factors are computed when the module loads.
#
# Registers are bit-reflected: bit 31 is the coefficient of x^0. The extension is compiled for the architecture's baseline; the
# functions below are compiled for the CPUs that have the instructions, and are called only after the CPU was asked.
#
# Where the CPU has none, the crc32c package does the work (imported only then). FASTLOG_CRC32C=package in the environment forces that.
# Sources: RFC 3720 B.4 (polynomial, test vectors); Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction".

from libc.stdlib cimport getenv

cdef extern from *:
    """
    #define CRC_POLYNOMIAL 0x82F63B78u
    #define CRC_ONE 0x80000000u             /* x^0 */
    #define CRC_SHORT_WORDS_MIN 4           /* below, joining costs more than it gains */
    #define CRC_SHORT_WORDS_MAX 128         /* the most 8-byte words of a stream with a factor of its own */
    #define CRC_LONG_WORDS 512              /* the stream length for long inputs */
    #define CRC_ALIGN_BYTES 4096            /* from here on, starting at a word's edge pays for itself */

    static uint64_t crc_short_factors[CRC_SHORT_WORDS_MAX + 1][2];      /* by words: {of A, of B} */
    static uint64_t crc_long_factors[2];

    FASTLOG_INLINE uint32_t crc_times_x(uint32_t a) { return (a >> 1) ^ ((0u - (a & 1u)) & CRC_POLYNOMIAL); }

    FASTLOG_INLINE uint32_t crc_multiply(uint32_t a, uint32_t b) {
        uint32_t product = 0;
        for (; a; a <<= 1) {
            if (a & CRC_ONE) product ^= b;
            b = crc_times_x(b);
        }
        return product;
    }

    FASTLOG_INLINE uint32_t crc_power_of_x(uint64_t exponent) {
        uint32_t power = CRC_ONE, square = CRC_ONE >> 1;
        for (; exponent; exponent >>= 1) {
            if (exponent & 1) power = crc_multiply(power, square);
            square = crc_multiply(square, square);
        }
        return power;
    }

    /* The last resort: one bit at a time. */
    FASTLOG_INLINE uint32_t crc_by_bits(uint32_t crc, const unsigned char *p, Py_ssize_t size) {
        crc = ~crc;
        for (; size > 0; size--) {
            crc ^= *p++;
            for (int bit = 0; bit < 8; bit++) crc = crc_times_x(crc);
        }
        return ~crc;
    }

    #if defined(__x86_64__)
    #include <nmmintrin.h>
    #include <wmmintrin.h>
    #define CRC_HARDWARE "sse4.2"
    #define CRC_TARGET __attribute__((target("sse4.2,pclmul")))
    #define CRC_FACTOR_LAG 33
    #define CRC_BYTE(crc, v) _mm_crc32_u8((uint32_t)(crc), v)
    #define CRC_WORD(crc, v) _mm_crc32_u64(crc, v)
    typedef uint64_t crc_register;

    static int crc_detect(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
    }
    CRC_TARGET FASTLOG_INLINE crc_register crc_join(crc_register a, crc_register b, crc_register c, const uint64_t factors[2]) {
        __m128i both = _mm_loadu_si128((const __m128i *)factors);
        __m128i left = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a), both, 0x00);
        __m128i right = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b), both, 0x10);
        return c ^ _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(left, right)));
    }

    #elif defined(__aarch64__) && defined(__linux__)
    #include <arm_acle.h>
    #include <sys/auxv.h>
    #define CRC_HARDWARE "armv8"
    #define CRC_TARGET __attribute__((target("+crc")))
    #define CRC_FACTOR_LAG 0
    #define CRC_BYTE(crc, v) __crc32cb(crc, v)
    #define CRC_WORD(crc, v) __crc32cd(crc, v)
    typedef uint32_t crc_register;

    static int crc_detect(void) { return (getauxval(AT_HWCAP) & (1ul << 7)) != 0; }     /* HWCAP_CRC32 */
    CRC_TARGET FASTLOG_INLINE crc_register crc_join(crc_register a, crc_register b, crc_register c, const uint64_t factors[2]) {
        return c ^ crc_multiply(a, (uint32_t)factors[0]) ^ crc_multiply(b, (uint32_t)factors[1]);
    }
    #endif

    #ifdef CRC_HARDWARE
    CRC_TARGET FASTLOG_INLINE crc_register crc_three_streams(
        crc_register a, const unsigned char *p, Py_ssize_t words, const uint64_t factors[2]
    ) {
        crc_register b = 0, c = 0;
        const unsigned char *q = p + 8 * words, *r = q + 8 * words, *end = q;
        do {
            a = CRC_WORD(a, load_le64(p));
            b = CRC_WORD(b, load_le64(q));
            c = CRC_WORD(c, load_le64(r));
            p += 8, q += 8, r += 8;
        } while (p < end);
        return crc_join(a, b, c, factors);
    }

    CRC_TARGET static uint32_t crc_by_hardware(uint32_t seed, const unsigned char *p, Py_ssize_t size) {
        crc_register crc = (uint32_t)~seed;
        Py_ssize_t words;
        if (size >= CRC_ALIGN_BYTES) for (; (uintptr_t)p & 7; p++, size--) crc = CRC_BYTE(crc, *p);
        for (; size >= 24 * CRC_LONG_WORDS; p += 24 * CRC_LONG_WORDS, size -= 24 * CRC_LONG_WORDS)
            crc = crc_three_streams(crc, p, CRC_LONG_WORDS, crc_long_factors);
        while ((words = size / 24) >= CRC_SHORT_WORDS_MIN) {
            if (words > CRC_SHORT_WORDS_MAX) words = CRC_SHORT_WORDS_MAX;
            crc = crc_three_streams(crc, p, words, crc_short_factors[words]);
            p += 24 * words, size -= 24 * words;
        }
        for (; size >= 8; p += 8, size -= 8) crc = CRC_WORD(crc, load_le64(p));
        for (; size > 0; p++, size--) crc = CRC_BYTE(crc, *p);
        return ~(uint32_t)crc;
    }

    static void crc_factors(uint64_t factors[2], Py_ssize_t words) {
        factors[0] = crc_power_of_x(128 * (uint64_t)words - CRC_FACTOR_LAG);
        factors[1] = crc_power_of_x(64 * (uint64_t)words - CRC_FACTOR_LAG);
    }

    static int crc_prepare(void) {
        if (!crc_detect()) return 0;
        crc_factors(crc_short_factors[1], 1);
        uint32_t of_a = crc_power_of_x(128), of_b = crc_power_of_x(64);     /* from one number of words to the next */
        for (Py_ssize_t words = 2; words <= CRC_SHORT_WORDS_MAX; words++) {
            crc_short_factors[words][0] = crc_multiply((uint32_t)crc_short_factors[words - 1][0], of_a);
            crc_short_factors[words][1] = crc_multiply((uint32_t)crc_short_factors[words - 1][1], of_b);
        }
        crc_factors(crc_long_factors, CRC_LONG_WORDS);
        return 1;
    }
    #else
    #define CRC_HARDWARE ""
    #define crc_by_hardware crc_by_bits     /* never called: crc_prepare says no */
    static int crc_prepare(void) { return 0; }
    #endif
    """
    const char* CRC_HARDWARE
    int crc_prepare()
    uint32_t crc_by_hardware(uint32_t crc, const unsigned char* data, Py_ssize_t size) noexcept nogil
    uint32_t crc_by_bits(uint32_t crc, const unsigned char* data, Py_ssize_t size) noexcept nogil
    uint32_t crc_multiply(uint32_t a, uint32_t b) noexcept nogil
    uint32_t crc_power_of_x(uint64_t exponent) noexcept nogil


cdef bint _crc_in_hardware = False
cdef object _crc_of_package = None


cdef object _choose_crc():
    """Decide once, when the module loads, and return the implementation's name."""
    global _crc_in_hardware, _crc_of_package
    cdef const char* wish = getenv("FASTLOG_CRC32C")
    if wish != NULL and wish[0] != 0 and <bytes>wish != b"package":
        raise ImportError(f"FASTLOG_CRC32C is {(<bytes>wish)!r}: unset it, or set it to 'package'")
    if (wish == NULL or wish[0] == 0) and crc_prepare():
        _crc_in_hardware = True
        return (<bytes>CRC_HARDWARE).decode()
    from crc32c import crc32c as _crc_of_package
    return "package"


CRC32C_IMPLEMENTATION = _choose_crc()


cdef uint32_t _crc_by_package(uint32_t crc, const unsigned char* data, Py_ssize_t size) noexcept with gil:
    try:
        return _crc_of_package(slice_of(None, data, size, False), crc)
    except Exception:
        # No memory for the call. A checksum has no way to fail, and a wrong one would condemn sound data.
        return crc_by_bits(crc, data, size)


cdef uint32_t crc32c_of(uint32_t crc, const unsigned char* data, Py_ssize_t size) noexcept nogil:
    if _crc_in_hardware:
        return crc_by_hardware(crc, data, size)
    return _crc_by_package(crc, data, size)


cdef enum:
    # A checksum or scan of so many bytes takes long enough (some 10 us) for other threads to be let in.
    LONG_WORK_BYTES = 256 * 1024


def crc32c(data, uint32_t crc=0, /):
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len < LONG_WORK_BYTES:
        crc = crc32c_of(crc, <unsigned char*>view.buf, view.len)
    else:
        with nogil:
            crc = crc32c_of(crc, <unsigned char*>view.buf, view.len)
    PyBuffer_Release(&view)
    return crc


def crc32c_combine(uint32_t crc, uint32_t crc_of_next, uint64_t size_of_next, /):
    if size_of_next >= <uint64_t>1 << 61:
        raise OverflowError("size_of_next is 2^61 or more")
    return crc_multiply(crc, crc_power_of_x(8 * size_of_next)) ^ crc_of_next
