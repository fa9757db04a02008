// Records what a process does to the files of one directory, in the order in which the kernel did it.
//
// LD_PRELOAD=recorder.so RECORD_DIR=/the/directory RECORD_TO=/the/recording program
// RECORD_FAIL_FSYNC=N: the N-th fsync of a file whose name ends in -wal fails with EIO, once, and syncs nothing.
// RECORD_FAULT_AT=N: the N-th call that touches a file of the directory is not made; reads, opens and locks count then,
//   too, and each is a record of kind N. RECORD_FAULT says what happens instead:
//   kill: the process is killed; EIO: the call fails, once; EIO+: all from there on fail;
//   ENOSPC+: all from there on that would need more of the disk fail, and no others count.
//
// A record, numbers as the machine writes them, and after it so many bytes of path and of data:
//   char kind; int32 error; uint64 inode; uint64 at; uint32 path_len; uint32 data_len
// kind X: the fault that was asked for; N: see above; W: data written at an offset; T: cut or grown to a size; F: fsync of a file or a directory; C: a file was made;
// R, L: renamed, linked from path to data; U: unlinked. A record is written after its call returned, under a lock, so
// whoever learns of anything later finds it in the recording already.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static const char *dir;
static size_t dir_len;
static int out = -1;
static long fail_fsync;

// The fault that was asked for.
static long fault_at;
static int fault_kills, fault_stays, fault_error;

__attribute__((constructor)) static void begin(void) {
  const char *to = getenv("RECORD_TO"), *fail = getenv("RECORD_FAIL_FSYNC");
  dir = getenv("RECORD_DIR");
  if (!dir || !to) return;
  dir_len = strlen(dir);
  // A high number, so that what expects its sockets at 3 still finds them there.
  int opened = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  out = fcntl(opened, F_DUPFD_CLOEXEC, 100);
  close(opened);
  fail_fsync = fail ? atol(fail) : 0;
  const char *at = getenv("RECORD_FAULT_AT"), *fault = getenv("RECORD_FAULT");
  if (!at || !fault) return;
  fault_at = atol(at);
  fault_kills = !strcmp(fault, "kill");
  fault_stays = fault[strlen(fault) - 1] == '+';
  fault_error = strncmp(fault, "EIO", 3) ? ENOSPC : EIO;
}

static int is_ours(const char *path) {
  size_t n = strlen(path);
  if (out < 0 || strncmp(path, dir, dir_len) || (path[dir_len] && path[dir_len] != '/')) return 0;
  return n < 4 || strcmp(path + n - 4, "-shm");
}

// The path of an open file of the directory, or 0.
static int path_of(int fd, char *path) {
  char link[40];
  if (out < 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, PATH_MAX - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return is_ours(path);
}

static uint64_t inode(int fd) {
  struct stat s;
  return fstat(fd, &s) ? 0 : s.st_ino;
}

static void put(char kind, int error, uint64_t ino, uint64_t at, const char *path, const void *data, size_t len) {
  int kept = errno;
  struct __attribute__((packed)) {
    char kind;
    int32_t error;
    uint64_t ino, at;
    uint32_t path_len, data_len;
  } head = {kind, error, ino, at, strlen(path), len};
  struct iovec all[] = {{&head, sizeof head}, {(void *)path, head.path_len}, {(void *)data, len}};
  ssize_t meant = sizeof head + head.path_len + len;
  if (syscall(SYS_writev, out, all, 3) != meant) abort();
  errno = kept;
}

// True when this call fails instead, with errno set. `grows`: it needs more of the disk. Under the lock.
static int faulty(const char *path, int grows) {
  static int reached;
  if (!fault_at || (fault_error == ENOSPC && !fault_kills && !grows)) return 0;
  if (reached ? !fault_stays : --fault_at) return 0;
  if (!reached) put('X', fault_error, 0, 0, path, 0, 0);
  reached = fault_at = 1;
  if (fault_kills) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
  }
  errno = fault_error;
  return 1;
}

// The same for a call that is not recorded otherwise.
static int faulty_unrecorded(const char *path, int grows) {
  pthread_mutex_lock(&one_at_a_time);
  int fails = faulty(path, grows);
  if (!fails) put('N', 0, 0, 0, path, 0, 0);
  int kept = errno;
  pthread_mutex_unlock(&one_at_a_time);
  errno = kept;
  return fails;
}

#define RECORDED(fd, grows, call, record)                                                                              \
  char path[PATH_MAX];                                                                                                 \
  int ours = path_of(fd, path);                                                                                        \
  if (ours) pthread_mutex_lock(&one_at_a_time);                                                                        \
  long result = ours && faulty(path, grows) ? -1 : (call);                                                             \
  if (ours) {                                                                                                          \
    record;                                                                                                            \
    pthread_mutex_unlock(&one_at_a_time);                                                                              \
  }                                                                                                                    \
  return result;

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
  RECORDED(fd, 1, syscall(SYS_pwrite64, fd, data, n, at),
           if (result > 0) put('W', 0, inode(fd), at, path, data, result))
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

ssize_t write(int fd, const void *data, size_t n) {
  RECORDED(fd, 1, syscall(SYS_write, fd, data, n),
           if (result > 0) put('W', 0, inode(fd), lseek(fd, 0, SEEK_CUR) - result, path, data, result))
}

int ftruncate64(int fd, off64_t size) {
  RECORDED(fd, 1, syscall(SYS_ftruncate, fd, size), if (!result) put('T', 0, inode(fd), size, path, 0, 0))
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static long sync_of(int fd, const char *path, int call) {
  size_t n = strlen(path);
  if (n > 4 && !strcmp(path + n - 4, "-wal") && fail_fsync > 0 && --fail_fsync == 0) {
    errno = EIO;
    return -1;
  }
  return syscall(call, fd);
}
int fsync(int fd) {
  RECORDED(fd, 0, sync_of(fd, path, SYS_fsync), put('F', result ? errno : 0, inode(fd), 0, path, 0, 0))
}
int fdatasync(int fd) {
  RECORDED(fd, 0, sync_of(fd, path, SYS_fdatasync), put('F', result ? errno : 0, inode(fd), 0, path, 0, 0))
}

int openat64(int at, const char *name, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  int ours = is_ours(name) && flags & (O_CREAT | O_TRUNC);
  if (fault_at && !ours && is_ours(name) && faulty_unrecorded(name, 0)) return -1;
  if (ours) pthread_mutex_lock(&one_at_a_time);
  int was = ours && !faccessat(at, name, F_OK, 0);
  int fd = ours && faulty(name, !was) ? -1 : syscall(SYS_openat, at, name, flags, mode);
  if (ours) {
    if (fd >= 0 && !was) put('C', 0, inode(fd), 0, name, 0, 0);
    if (fd >= 0 && was && flags & O_TRUNC) put('T', 0, inode(fd), 0, name, 0, 0);
    pthread_mutex_unlock(&one_at_a_time);
  }
  return fd;
}
#define OPENED(at)                                                                                                     \
  va_list more;                                                                                                        \
  va_start(more, flags);                                                                                               \
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                              \
  va_end(more);                                                                                                        \
  return openat64(at, name, flags, mode);
int openat(int at, const char *name, int flags, ...) { OPENED(at) }
int open64(const char *name, int flags, ...) { OPENED(AT_FDCWD) }
int open(const char *name, int flags, ...) { OPENED(AT_FDCWD) }

// Names: `from` and `to` are whole paths wherever the file of a shop is concerned.
static int named(char kind, const char *from, const char *to, int call, long a, long b, long c, long d, long e) {
  int ours = is_ours(to ? to : from);
  struct stat s = {0};
  if (ours) pthread_mutex_lock(&one_at_a_time);
  if (ours) lstat(from, &s);
  int result = ours && faulty(from, kind != 'U') ? -1 : syscall(call, a, b, c, d, e);
  if (ours) {
    if (!result) put(kind, 0, s.st_ino, 0, from, to, to ? strlen(to) : 0);
    pthread_mutex_unlock(&one_at_a_time);
  }
  return result;
}
int rename(const char *from, const char *to) {
  return named('R', from, to, SYS_renameat2, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0);
}
int link(const char *from, const char *to) {
  return named('L', from, to, SYS_linkat, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0);
}
int linkat(int f, const char *from, int t, const char *to, int flags) {
  return named('L', from, to, SYS_linkat, f, (long)from, t, (long)to, flags);
}
int unlink(const char *path) { return named('U', path, 0, SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0); }
int unlinkat(int at, const char *path, int flags) {
  return named('U', path, 0, SYS_unlinkat, at, (long)path, flags, 0, 0);
}

// What changes nothing counts only where a fault is asked for.
static int fails_unchanged(int fd) {
  char path[PATH_MAX];
  return fault_at && path_of(fd, path) && faulty_unrecorded(path, 0);
}
ssize_t pread64(int fd, void *data, size_t n, off64_t at) {
  return fails_unchanged(fd) ? -1 : syscall(SYS_pread64, fd, data, n, at);
}
ssize_t pread(int fd, void *data, size_t n, off_t at) { return pread64(fd, data, n, at); }
ssize_t read(int fd, void *data, size_t n) { return fails_unchanged(fd) ? -1 : syscall(SYS_read, fd, data, n); }
static int locked(int fd, int what, long with) {
  int is_lock = what == F_SETLK || what == F_SETLKW || what == F_OFD_SETLK || what == F_OFD_SETLKW;
  return is_lock && fails_unchanged(fd) ? -1 : syscall(SYS_fcntl, fd, what, with);
}
#define LOCKED                                                                                                         \
  va_list more;                                                                                                        \
  va_start(more, what);                                                                                                \
  long with = va_arg(more, long);                                                                                      \
  va_end(more);                                                                                                        \
  return locked(fd, what, with);
int fcntl64(int fd, int what, ...) { LOCKED }
int fcntl(int fd, int what, ...) { LOCKED }

// Copies inside the kernel would pass unseen; whoever tries falls back to reading and writing.
ssize_t copy_file_range(int a, off64_t *b, int c, off64_t *d, size_t n, unsigned flags) {
  (void)a, (void)b, (void)c, (void)d, (void)n, (void)flags;
  errno = ENOSYS;
  return -1;
}
