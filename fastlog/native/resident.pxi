# What the kernel counts as this process's memory, and what of that it can have back without a loss.
#
# A start runs much code once: the interpreter's and libraries' own set-up, reading of modules. It stays in the process's page
# tables, and what was freed since stays in the heap. Pages of a file that were mapped privately and never written are the page
# cache's own: dropped from the page tables they stay there, and come back at a touch, 16 at a time, without any I/O. A page that was
# written (relocations, a debugger's breakpoint) would come back as the file has it, so a mapping that has one is left whole.
# Sources: proc_pid_smaps(5), madvise(2) on MADV_DONTNEED, malloc_trim(3).

from libc.stdio cimport FILE, fclose, fopen, sscanf
from libc.stdlib cimport free

cdef extern from *:
    """
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define give_back_heap() malloc_trim(0)
    #else
    #define give_back_heap() 0
    #endif
    """
    int give_back_heap() nogil

cdef extern from "<stdio.h>" nogil:
    ssize_t getline(char** line, size_t* room, FILE* stream)

cdef extern from "<sys/mman.h>" nogil:
    int c_madvise "madvise"(void* address, size_t size, int advice)
    enum: MADV_DONTNEED


cdef int64_t drop_unwritten_pages() noexcept nogil:
    """Drop the pages of private, unwritten mappings of files; return how many KiB of them were resident."""
    cdef FILE* mappings = fopen("/proc/self/smaps", "re")
    cdef char* line = NULL
    cdef size_t room = 0
    cdef size_t start = 0, end = 0, first, last
    cdef unsigned long inode
    cdef char permissions[5]
    cdef long kibibytes, resident = 0
    cdef int64_t dropped = 0
    cdef bint is_candidate = False
    if mappings == NULL:
        return 0
    while getline(&line, &room, mappings) > 0:
        if sscanf(line, "%zx-%zx %4s %*s %*s %lu", &first, &last, permissions, &inode) == 4:
            start, end = first, last
            is_candidate = inode != 0 and permissions[1] == c"-" and permissions[3] == c"p"
        elif sscanf(line, "Rss: %ld kB", &kibibytes) == 1:
            resident = kibibytes
        elif sscanf(line, "Anonymous: %ld kB", &kibibytes) == 1:
            if is_candidate and kibibytes == 0 and c_madvise(<void*>start, end - start, MADV_DONTNEED) == 0:
                dropped += resident
    free(line)
    fclose(mappings)
    return dropped


def give_back_memory():
    cdef int64_t dropped
    with nogil:
        give_back_heap()
        dropped = drop_unwritten_pages()
    return dropped * 1024
