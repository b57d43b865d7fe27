/* fsync and fdatasync that fail with EIO for files whose path holds the text in the file that DHIH_FAIL_SYNC names; the others' do as the
   system's. For `failing_sync.rs`. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(int fd) {
  const char *control = getenv("DHIH_FAIL_SYNC");
  char link[64], path[4096], text[256];
  if (control == NULL) return 0;
  FILE *file = fopen(control, "r");
  if (file == NULL) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t read = readlink(link, path, sizeof path - 1);
  if (length == 0 || read < 0) return 0;
  path[read] = 0;
  return strstr(path, text) != NULL;
}

int fsync(int fd) {
  if (fails(fd)) { errno = EIO; return -1; }
  return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
  if (fails(fd)) { errno = EIO; return -1; }
  return (int)syscall(SYS_fdatasync, fd);
}
