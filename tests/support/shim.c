/* Counts every system call that changes what lies under one folder, and can log it, refuse it, or die at it; and can be
   a machine whose locks do not reach others.

   Loaded with LD_PRELOAD; armed from Python by the shim_* functions at the end. The index that SQLite maps into memory
   (-shm) is left out: it is rebuilt from the log, and its pages change without a system call anyway. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, ALLOCATE, RENAME, UNLINK, MAKE_FOLDER, SYNC, FAILED, LINK };

static char watched[PATH_MAX];
static long calls, fatal = -1;
static int error_number, for_good, log_descriptor = -1;

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static int is_watched(const char *path) {
    size_t length = strlen(watched), end = strlen(path);
    if (!length || strncmp(path, watched, length) || (path[length] && path[length] != '/'))
        return 0;
    return !(end > 4 && !strcmp(path + end - 4, "-shm"));
}

static int of_descriptor(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = watched[0] ? readlink(link, path, PATH_MAX - 1) : -1;
    path[length < 0 ? 0 : length] = 0;
    return length > 0 && is_watched(path);
}

static int of_path(int folder, const char *given, char *path) {
    if (!watched[0])
        return 0;
    if (given[0] == '/')
        snprintf(path, PATH_MAX, "%s", given);
    else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD ? !getcwd(base, sizeof base) : (of_descriptor(folder, base), !base[0]))
            return 0;
        if (snprintf(path, PATH_MAX, "%s/%s", base, given) >= PATH_MAX)
            return 0;
    }
    return is_watched(path);
}

static int needs_space(int kind) {
    return kind == CREATE || kind == WRITE || kind == ALLOCATE || kind == MAKE_FOLDER || kind == LINK;
}

/* 0: go on; 1: refuse, errno is set; 2: a write that finds room for its first half only. */
static int refused(int kind) {
    long number = calls++;
    if (fatal < 0 || number < fatal)
        return 0;
    if (!error_number && number == fatal) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
    if (number > fatal && !for_good)
        return 0;
    if (for_good && error_number == ENOSPC) {
        if (!needs_space(kind))
            return 0;
        if (number == fatal && kind == WRITE)
            return 2;
    }
    errno = error_number;
    return 1;
}

struct record {
    int64_t kind, offset, size, path_length, second_length;
};

static void note(int kind, const char *path, const char *second, int64_t offset, int64_t size, const void *data) {
    static ssize_t (*put)(int, const void *, size_t);
    if (log_descriptor < 0)
        return;
    if (!put)
        put = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    int saved = errno;
    struct record head = {kind, offset, size, (int64_t)strlen(path), (int64_t)strlen(second)};
    if (put(log_descriptor, &head, sizeof head) != sizeof head || put(log_descriptor, path, head.path_length) < 0 ||
        put(log_descriptor, second, head.second_length) < 0 || (data && put(log_descriptor, data, size) != size))
        abort();
    errno = saved;
}

static int opened(const char *name, int folder, const char *given, int flags, mode_t mode) {
    int (*real)(int, const char *, int, ...) = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, name);
    char path[PATH_MAX];
    struct stat found;
    int there = 1, changes = 0;
    if (flags & (O_CREAT | O_TRUNC) && of_path(folder, given, path)) {
        there = !stat(path, &found);
        changes = there ? flags & O_TRUNC && found.st_size : flags & O_CREAT;
    }
    if (changes && refused(CREATE))
        return -1;
    int result = real(folder, given, flags, mode);
    if (changes)
        note(there ? TRUNCATE : result < 0 ? FAILED : CREATE, path, "", 0, 0, NULL);
    return result;
}

static mode_t mode_in(int flags, va_list values) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(values, mode_t) : 0;
}

#define OPEN(name, at, parameters, folder)                                                                             \
    int name parameters {                                                                                              \
        va_list values;                                                                                                \
        va_start(values, flags);                                                                                       \
        mode_t mode = mode_in(flags, values);                                                                          \
        va_end(values);                                                                                                \
        return opened(at, folder, path, flags, mode);                                                                  \
    }

OPEN(open, "openat", (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, "openat64", (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, "openat", (int folder, const char *path, int flags, ...), folder)
OPEN(openat64, "openat64", (int folder, const char *path, int flags, ...), folder)

int creat(const char *path, mode_t mode) {
    return opened("openat", AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode) {
    return opened("openat64", AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

static int64_t place(int descriptor) {
    struct stat found;
    if (fcntl(descriptor, F_GETFL) & O_APPEND)
        return fstat(descriptor, &found) ? 0 : found.st_size;
    return lseek(descriptor, 0, SEEK_CUR);
}

/* Notes and does one write; `act` sees the bytes that it may write as `allowed`. */
#define WRITTEN(descriptor, at, data, size, act)                                                                       \
    char path[PATH_MAX];                                                                                               \
    if (!of_descriptor(descriptor, path)) {                                                                            \
        size_t allowed = size;                                                                                         \
        return act;                                                                                                    \
    }                                                                                                                  \
    int refusal = refused(WRITE);                                                                                      \
    if (refusal == 1 || (refusal == 2 && size < 2)) {                                                                  \
        errno = error_number;                                                                                          \
        return -1;                                                                                                     \
    }                                                                                                                  \
    int64_t begin = at;                                                                                                \
    size_t allowed = refusal ? size / 2 : size;                                                                        \
    ssize_t result = act;                                                                                              \
    note(WRITE, path, "", begin, result < 0 ? 0 : result, data);                                                       \
    return result;

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    WRITTEN(descriptor, place(descriptor), data, size, real(descriptor, data, allowed))
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    WRITTEN(descriptor, offset, data, size, real(descriptor, data, allowed, offset))
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64);
    WRITTEN(descriptor, offset, data, size, real(descriptor, data, allowed, offset))
}

/* Of several buffers only the first is written: the caller must go on with the rest, as after any short write. */
ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
    char path[PATH_MAX];
    REAL(writev);
    if (count < 1 || !of_descriptor(descriptor, path))
        return real(descriptor, pieces, count);
    return write(descriptor, pieces[0].iov_base, pieces[0].iov_len);
}

#define BY_DESCRIPTOR(name, parameters, values, kind, offset, size, failed)                                            \
    int name parameters {                                                                                              \
        char path[PATH_MAX];                                                                                           \
        REAL(name);                                                                                                    \
        int ours = of_descriptor(descriptor, path);                                                                    \
        if (ours && refused(kind))                                                                                     \
            return failed;                                                                                             \
        int result = real values;                                                                                      \
        if (ours)                                                                                                      \
            note(result ? FAILED : kind, path, "", offset, size, NULL);                                              \
        return result;                                                                                                 \
    }

BY_DESCRIPTOR(ftruncate, (int descriptor, off_t size), (descriptor, size), TRUNCATE, size, 0, -1)
BY_DESCRIPTOR(ftruncate64, (int descriptor, off64_t size), (descriptor, size), TRUNCATE, size, 0, -1)
BY_DESCRIPTOR(fsync, (int descriptor), (descriptor), SYNC, 0, 0, -1)
BY_DESCRIPTOR(fdatasync, (int descriptor), (descriptor), SYNC, 0, 0, -1)
BY_DESCRIPTOR(fallocate, (int descriptor, int mode, off_t offset, off_t size), (descriptor, mode, offset, size),
              ALLOCATE, offset + size, 0, -1)
BY_DESCRIPTOR(fallocate64, (int descriptor, int mode, off64_t offset, off64_t size), (descriptor, mode, offset, size),
              ALLOCATE, offset + size, 0, -1)
BY_DESCRIPTOR(posix_fallocate, (int descriptor, off_t offset, off_t size), (descriptor, offset, size), ALLOCATE,
              offset + size, 0, error_number)
BY_DESCRIPTOR(posix_fallocate64, (int descriptor, off64_t offset, off64_t size), (descriptor, offset, size), ALLOCATE,
              offset + size, 0, error_number)

#define BY_PATH(name, parameters, values, kind, folder)                                                                \
    int name parameters {                                                                                              \
        char path[PATH_MAX];                                                                                           \
        REAL(name);                                                                                                    \
        int ours = of_path(folder, given, path);                                                                       \
        if (ours && refused(kind))                                                                                     \
            return -1;                                                                                                 \
        int result = real values;                                                                                      \
        if (ours)                                                                                                      \
            note(result ? FAILED : kind, path, "", 0, 0, NULL);                                                      \
        return result;                                                                                                 \
    }

BY_PATH(unlink, (const char *given), (given), UNLINK, AT_FDCWD)
BY_PATH(unlinkat, (int folder, const char *given, int flags), (folder, given, flags), UNLINK, folder)
BY_PATH(mkdir, (const char *given, mode_t mode), (given, mode), MAKE_FOLDER, AT_FDCWD)
BY_PATH(mkdirat, (int folder, const char *given, mode_t mode), (folder, given, mode), MAKE_FOLDER, folder)

#define RENAMED(name, parameters, values, kind, from_folder, to_folder)                                                \
    int name parameters {                                                                                              \
        char path[PATH_MAX], second[PATH_MAX];                                                                         \
        REAL(name);                                                                                                    \
        int ours = of_path(from_folder, from, path) & of_path(to_folder, to, second);                                  \
        if (ours && refused(kind))                                                                                     \
            return -1;                                                                                                 \
        int result = real values;                                                                                      \
        if (ours)                                                                                                      \
            note(result ? FAILED : kind, path, second, 0, 0, NULL);                                                    \
        return result;                                                                                                 \
    }

RENAMED(rename, (const char *from, const char *to), (from, to), RENAME, AT_FDCWD, AT_FDCWD)
RENAMED(renameat, (int old, const char *from, int new, const char *to), (old, from, new, to), RENAME, old, new)
RENAMED(renameat2, (int old, const char *from, int new, const char *to, unsigned flags), (old, from, new, to, flags),
        RENAME, old, new)
RENAMED(link, (const char *from, const char *to), (from, to), LINK, AT_FDCWD, AT_FDCWD)
RENAMED(linkat, (int old, const char *from, int new, const char *to, int flags), (old, from, new, to, flags), LINK, old,
        new)

/* Where SHIM_MACHINE is a number, this process is on a machine of its own, to which the locks of other machines do not
   reach, as over sshfs: its locks are ranges of bytes that no other machine asks for. */
static off64_t machine(void) {
    const char *number = getenv("SHIM_MACHINE");
    return number ? (off64_t)atoi(number) << 48 : 0;
}

int flock(int descriptor, int operation) {
    REAL(flock);
    if (!machine())
        return real(descriptor, operation);
    struct flock64 range = {.l_whence = SEEK_SET, .l_start = machine() + ((off64_t)1 << 40), .l_len = 1};
    range.l_type = operation & LOCK_UN ? F_UNLCK : operation & LOCK_SH ? F_RDLCK : F_WRLCK;
    int (*locked)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    int result = locked(descriptor, operation & LOCK_NB ? F_OFD_SETLK : F_OFD_SETLKW, &range);
    if (result && errno == EACCES)
        errno = EWOULDBLOCK;
    return result;
}

static int controlled(const char *name, int descriptor, int command, void *value) {
    int (*real)(int, int, ...) = (int (*)(int, int, ...))dlsym(RTLD_NEXT, name);
    if (!machine() || (command != F_SETLK && command != F_SETLKW && command != F_GETLK))
        return real(descriptor, command, value);
    struct flock *asked = value, moved = *asked; /* off_t has 64 bits on the machines that this is for */
    moved.l_start += machine();
    int result = real(descriptor, command, &moved);
    asked->l_type = moved.l_type;
    asked->l_pid = moved.l_pid;
    return result;
}

#define CONTROL(name)                                                                                                  \
    int name(int descriptor, int command, ...) {                                                                       \
        va_list values;                                                                                                \
        va_start(values, command);                                                                                     \
        void *value = va_arg(values, void *);                                                                          \
        va_end(values);                                                                                                \
        return controlled(#name, descriptor, command, value);                                                          \
    }

CONTROL(fcntl)
CONTROL(fcntl64)

/* Count from now on what changes under `folder`, an absolute path without links. */
void shim_watch(const char *folder) {
    snprintf(watched, sizeof watched, "%s", folder);
    calls = 0;
}

long shim_calls(void) { return calls; }

/* Fail call number `number` with `error` (0: die instead of it), and all that follow it too if `always`. */
void shim_arm(long number, int error, int always) {
    fatal = number;
    error_number = error;
    for_good = always;
}

void shim_log(int descriptor) { log_descriptor = descriptor; }
