/* Preloaded: writes down, in order, what a process does to the files of one folder.
 *
 * POWER_FOLDER names the folder, POWER_LOG the file the records go to. A record is a
 * struct, the file's name and the data written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FILES 4096

struct record {
    uint32_t kind; /* 'W' write, 'T' truncate, 'S' sync, 'U' unlink */
    uint32_t name_length;
    uint64_t offset;
    uint64_t length;
};

static char *names[MAX_FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_file = -1;

static void record(char kind, const char *name, uint64_t offset, const void *data,
                   uint64_t length)
{
    struct record head = {(uint32_t)kind, (uint32_t)strlen(name), offset, length};
    struct iovec parts[3] = {{&head, sizeof head},
                             {(void *)name, strlen(name)},
                             {(void *)data, data ? length : 0}};
    pthread_mutex_lock(&lock);
    if (log_file < 0)
        log_file = (int)syscall(SYS_openat, AT_FDCWD, getenv("POWER_LOG"),
                                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (syscall(SYS_writev, log_file, parts, 3) < 0)
        abort();
    pthread_mutex_unlock(&lock);
}

static const char *inside(const char *path)
{
    const char *folder = getenv("POWER_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && path[length] == '/'
               ? path + length + 1
               : NULL;
}

static const char *name_of(int fd) { return fd >= 0 && fd < MAX_FILES ? names[fd] : NULL; }

static int remember(int fd, const char *path)
{
    const char *name = inside(path);
    if (fd >= 0 && fd < MAX_FILES)
        names[fd] = name ? strdup(name) : NULL;
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return remember((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path);
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return remember((int)syscall(SYS_openat, AT_FDCWD, path, flags, mode), path);
}

int close(int fd)
{
    if (fd >= 0 && fd < MAX_FILES)
        names[fd] = NULL;
    return (int)syscall(SYS_close, fd);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (done > 0 && name_of(fd))
        record('W', name_of(fd), (uint64_t)offset, data, (uint64_t)done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
    return pwrite(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length)
{
    off_t offset = name_of(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (done > 0 && name_of(fd))
        record('W', name_of(fd), (uint64_t)offset, data, (uint64_t)done);
    return done;
}

int ftruncate(int fd, off_t length)
{
    int done = (int)syscall(SYS_ftruncate, fd, length);
    if (!done && name_of(fd))
        record('T', name_of(fd), (uint64_t)length, NULL, 0);
    return done;
}

int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

int fsync(int fd)
{
    int done = (int)syscall(SYS_fsync, fd);
    if (!done && name_of(fd))
        record('S', name_of(fd), 0, NULL, 0);
    return done;
}

int fdatasync(int fd)
{
    int done = (int)syscall(SYS_fdatasync, fd);
    if (!done && name_of(fd))
        record('S', name_of(fd), 0, NULL, 0);
    return done;
}

int unlink(const char *path)
{
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (!done && inside(path))
        record('U', inside(path), 0, NULL, 0);
    return done;
}
