/* Lets the calls that open, look at or list what is named in $HANG_AT wait for ever, once the file $HANG_WHEN is there.

   Loaded with LD_PRELOAD: what a server that is down does to those who ask it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void perhaps_hang(const char *call, const char *path) {
    const char *calls = getenv("HANG_IN"), *at = getenv("HANG_AT"), *when = getenv("HANG_WHEN");
    if (!calls || !at || !when || !path || strcmp(calls, call) || !strstr(path, at))
        return;
    if (syscall(SYS_access, when, F_OK))
        return;
    for (;;)
        pause();
}

#define OPEN(name, type, parameters, arguments)                                                                        \
    type name parameters {                                                                                             \
        REAL(name);                                                                                                    \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;                                            \
        va_end(rest);                                                                                                  \
        perhaps_hang("open", path);                                                                                    \
        return real arguments;                                                                                         \
    }

OPEN(open, int, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, int, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, int, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPEN(openat64, int, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    REAL(fstatat64);
    perhaps_hang("stat", path);
    return real(folder, path, status, flags);
}

int fstatat(int folder, const char *path, struct stat *status, int flags) {
    REAL(fstatat);
    perhaps_hang("stat", path);
    return real(folder, path, status, flags);
}

int stat64(const char *path, struct stat64 *status) {
    REAL(stat64);
    perhaps_hang("stat", path);
    return real(path, status);
}

int stat(const char *path, struct stat *status) {
    REAL(stat);
    perhaps_hang("stat", path);
    return real(path, status);
}
