# libFuzzer as a Python extension: `fuzz` hands each input to a Python callable, in this process, and measures what that allocates.
#
# Two things go back to libFuzzer beside the coverage of the compiled core (built with -fsanitize=fuzzer-no-link, see build.py): the
# target's own verdict, a small number that stands for how far the bytes came in code that is Python, and the end of the process with
# a saved input when the target raises or when memory grew past its bound.
#
# Memory is counted where Python and the core ask for it: allocators of all three domains are wrapped. Run under PYTHONMALLOC=malloc, so
# that every block is malloc's own and tells its size.

from libc.stdint cimport uint8_t
from libc.stdlib cimport abort, malloc

from traceback import print_exc

cdef extern from *:
    """
    #include <malloc.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <Python.h>

    #define VERDICTS 4096
    __attribute__((section("__libfuzzer_extra_counters"), used)) static uint8_t verdicts[VERDICTS];

    #ifdef __cplusplus
    extern "C"
    #endif
    int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run)(const uint8_t *data, size_t size));

    static PyMemAllocatorEx below[3];
    static int64_t live, peak;

    static inline void took(void *block) {
        if (block && (live += malloc_usable_size(block)) > peak) peak = live;
    }
    static void *meter_malloc(void *of, size_t size) {
        PyMemAllocatorEx *a = (PyMemAllocatorEx *)of;
        void *block = a->malloc(a->ctx, size);
        took(block);
        return block;
    }
    static void *meter_calloc(void *of, size_t count, size_t size) {
        PyMemAllocatorEx *a = (PyMemAllocatorEx *)of;
        void *block = a->calloc(a->ctx, count, size);
        took(block);
        return block;
    }
    static void *meter_realloc(void *of, void *block, size_t size) {
        PyMemAllocatorEx *a = (PyMemAllocatorEx *)of;
        size_t before = block ? malloc_usable_size(block) : 0;
        void *moved = a->realloc(a->ctx, block, size);
        if (moved) { live -= before; took(moved); }
        return moved;
    }
    static void meter_free(void *of, void *block) {
        PyMemAllocatorEx *a = (PyMemAllocatorEx *)of;
        if (block) live -= malloc_usable_size(block);
        a->free(a->ctx, block);
    }
    static void meter_install(void) {
        PyMemAllocatorDomain domains[3] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
        for (int i = 0; i < 3; i++) {
            PyMem_GetAllocator(domains[i], &below[i]);
            PyMemAllocatorEx over = {&below[i], meter_malloc, meter_calloc, meter_realloc, meter_free};
            PyMem_SetAllocator(domains[i], &over);
        }
    }
    """
    enum: VERDICTS
    uint8_t verdicts[VERDICTS]
    long long live, peak
    void meter_install()
    int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*run)(const uint8_t*, size_t) noexcept)


cdef object target
cdef long long most_fixed
cdef long long most_per_byte


cdef int run_one(const uint8_t* data, size_t size) noexcept:
    cdef long long before
    cdef bytes given = data[:size]
    before = live
    globals_reset()
    try:
        verdict = target(given)
        if verdict is not None:
            verdicts[<size_t>(<unsigned long long>verdict) % VERDICTS] = 1
        if peak - before > most_fixed + most_per_byte * <long long>size:
            raise MemoryError(f"{peak - before} bytes for an input of {size}")
    except BaseException:
        print_exc()
        abort()
    return 0


cdef inline void globals_reset() noexcept:
    global peak
    peak = live


def fuzz(function, arguments, *, long long fixed_bytes, long long bytes_per_byte):
    """Run `function(data: bytes) -> int | None` under libFuzzer with its command line `arguments`; never returns.

    An input may make memory grow by `fixed_bytes`, and by `bytes_per_byte` for each of its own bytes.
    """
    global target, most_fixed, most_per_byte
    cdef int count = <int>len(arguments)
    cdef char** values = <char**>malloc((count + 1) * sizeof(char*))
    encoded = [argument.encode() for argument in arguments]
    for i in range(count):
        values[i] = encoded[i]
    values[count] = NULL
    target, most_fixed, most_per_byte = function, fixed_bytes, bytes_per_byte
    meter_install()
    LLVMFuzzerRunDriver(&count, &values, run_one)
