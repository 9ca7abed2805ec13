# What the kernel counts as this process's memory, and what of that it can have back without a loss.
#
# A start runs much code once: the interpreter's and libraries' own set-up, reading of modules. Its pages stay in the process's page
# tables, and what was freed since stays in the heap. Pages of programs and libraries are the page cache's own as long as nobody wrote
# them: dropped from the page tables they come back when they are touched, from the cache.
#
# A page that is dropped after it was written comes back as the file has it, so:
#
# * only segments that programs and libraries have without the right to write are dropped: none of the relocated ones;
# * only while the loader's list is locked, which says where they are: another thread's dlopen or dlclose could give a range
#   that was looked up before to something else;
# * no segment that has a page of its own all the same (a debugger's breakpoint), or that the loader may be relocating.
#
# Sources: dl_iterate_phdr(3), proc_pid_pagemap(5), madvise(2) on MADV_DONTNEED, malloc_trim(3), ELF's DT_TEXTREL and DF_TEXTREL.

cdef extern from *:
    """
    #include <link.h>
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define give_back_heap() malloc_trim(0)
    #else
    #define give_back_heap() 0
    #endif
    """
    int give_back_heap() nogil

cdef extern from "<link.h>" nogil:
    ctypedef struct ElfSegment "ElfW(Phdr)":
        uint32_t p_type
        uint32_t p_flags
        size_t p_vaddr
        size_t p_memsz
    ctypedef struct ElfEntry "ElfW(Dyn)":
        int64_t d_tag
        uint64_t d_val "d_un.d_val"
    ctypedef struct LoadedObject "struct dl_phdr_info":
        size_t dlpi_addr
        const ElfSegment* dlpi_phdr
        uint16_t dlpi_phnum
    int dl_iterate_phdr(int (*callback)(LoadedObject*, size_t, void*) noexcept nogil, void* data)
    enum: PT_LOAD, PT_DYNAMIC, PF_W, DT_NULL, DT_FLAGS, DT_TEXTREL, DF_TEXTREL

cdef extern from "<fcntl.h>" nogil:
    int c_open "open"(const char* path, int flags)
    enum: O_RDONLY, O_CLOEXEC

cdef extern from "<sys/mman.h>" nogil:
    int c_madvise "madvise"(void* address, size_t size, int advice)
    enum: MADV_DONTNEED

cdef extern from "<unistd.h>" nogil:
    long c_sysconf "sysconf"(int name)
    enum: _SC_PAGESIZE

cdef enum:
    PAGEMAP_ENTRIES = 512               # of a page table, and read at once

cdef extern from *:
    """
    #define PAGE_IS_PRESENT (1ull << 63)
    #define PAGE_IS_SWAPPED (1ull << 62)
    #define PAGE_IS_OF_FILE (1ull << 61)
    """
    uint64_t PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGE_IS_OF_FILE


cdef struct Dropping:
    int pagemap
    size_t page_bytes
    int64_t dropped_pages


cdef bint may_relocate_code(const LoadedObject* loaded) noexcept nogil:
    """Whether the loader writes to segments of the object that it then makes read-only."""
    cdef const ElfEntry* entry
    cdef int index
    for index in range(loaded.dlpi_phnum):
        if loaded.dlpi_phdr[index].p_type == PT_DYNAMIC:
            entry = <const ElfEntry*>(loaded.dlpi_addr + loaded.dlpi_phdr[index].p_vaddr)
            while entry.d_tag != DT_NULL:
                if entry.d_tag == DT_TEXTREL or (entry.d_tag == DT_FLAGS and entry.d_val & DF_TEXTREL):
                    return True
                entry += 1
    return False


cdef int64_t pages_to_drop(int pagemap, int64_t first, int64_t count) noexcept nogil:
    """Return how many of some pages are resident, 0 where one of them is the process's own or cannot be told."""
    cdef uint64_t entries[PAGEMAP_ENTRIES]
    cdef int64_t resident = 0, portion, size, index
    while count > 0:
        portion = count if count < PAGEMAP_ENTRIES else PAGEMAP_ENTRIES
        size = portion * <int64_t>sizeof(uint64_t)
        if c_pread(pagemap, entries, <size_t>size, first * <int64_t>sizeof(uint64_t)) != size:
            return 0
        for index in range(portion):
            if entries[index] & PAGE_IS_SWAPPED:
                return 0
            if entries[index] & PAGE_IS_PRESENT:
                if not entries[index] & PAGE_IS_OF_FILE:
                    return 0
                resident += 1
        first += portion
        count -= portion
    return resident


cdef int drop_segments(LoadedObject* loaded, size_t size, void* data) noexcept nogil:
    """Drop what can be dropped of one object; called under the lock of the loader's list, so nothing in it may load or wait."""
    cdef Dropping* state = <Dropping*>data
    cdef const ElfSegment* segment
    cdef size_t begin
    cdef int64_t first, count, resident
    cdef int index
    if may_relocate_code(loaded):
        return 0
    for index in range(loaded.dlpi_phnum):
        segment = &loaded.dlpi_phdr[index]
        if segment.p_type == PT_LOAD and not segment.p_flags & PF_W:
            begin = loaded.dlpi_addr + segment.p_vaddr
            first = <int64_t>(begin / state.page_bytes)
            count = <int64_t>((begin + segment.p_memsz + state.page_bytes - 1) / state.page_bytes) - first
            resident = pages_to_drop(state.pagemap, first, count)
            if resident and not c_madvise(<void*>(first * state.page_bytes), <size_t>count * state.page_bytes, MADV_DONTNEED):
                state.dropped_pages += resident
    return 0


def give_back_memory():
    cdef Dropping state
    with nogil:
        give_back_heap()
        state.dropped_pages = 0
        state.page_bytes = <size_t>c_sysconf(_SC_PAGESIZE)
        state.pagemap = c_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
        if state.pagemap >= 0:
            dl_iterate_phdr(drop_segments, &state)
            c_close(state.pagemap)
    return state.dropped_pages * <int64_t>state.page_bytes
