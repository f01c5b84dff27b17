// The n-th fsync or fdatasync of a process gives an error, as a failing disk does: MILLPOND_TEST_SYNC=n. Loaded before libc (LD_PRELOAD).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_long asked;

static int fails(void) {
    const char *at = getenv("MILLPOND_TEST_SYNC");
    return at && atomic_fetch_add(&asked, 1) == atol(at);
}

static int run(const char *name, int file) {
    if (fails()) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

int fsync(int file) { return run("fsync", file); }
int fdatasync(int file) { return run("fdatasync", file); }
