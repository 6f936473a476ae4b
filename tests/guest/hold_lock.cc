// hold_lock FILE: takes an exclusive flock(2) of FILE and says "held" or "refused"; keeps it until
// it is killed. Static, for guests whose busybox has no such program.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int fd = ::open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    std::perror(argv[1]);
    return 1;
  }
  const bool held = ::flock(fd, LOCK_EX | LOCK_NB) == 0;
  std::puts(held ? "held" : "refused");
  std::fflush(stdout);
  while (held) ::pause();
  return 0;
}
