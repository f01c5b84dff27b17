// The n-th fsync or fdatasync of a file whose path contains a word gives an error, as a failing disk does: MILLPOND_TEST_SYNC=n:word, an empty
// word for any file. Loaded before libc (LD_PRELOAD).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_long asked;

static int fails(int file) {
    const char *at = getenv("MILLPOND_TEST_SYNC");
    const char *word = at ? strchr(at, ':') : NULL;
    if (!word) {
        return 0;
    }
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return strstr(path, word + 1) && atomic_fetch_add(&asked, 1) == atol(at);
}

static int run(const char *name, int file) {
    if (fails(file)) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

int fsync(int file) { return run("fsync", file); }
int fdatasync(int file) { return run("fdatasync", file); }
