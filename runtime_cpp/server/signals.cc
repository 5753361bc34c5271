#include "signals.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace recpile {
namespace {

static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");
std::atomic<bool> graceful = false;
int wake_pipe[2] = {-1, -1};

// Only what is safe in a signal handler: atomics, write and _exit.
void OnSignal(int signal) {
  if (!graceful.exchange(false)) _exit(128 + signal);
  const int saved_errno = errno;
  const auto number = static_cast<unsigned char>(signal);
  if (write(wake_pipe[1], &number, 1) != 1) _exit(128 + signal);
  errno = saved_errno;
}

}  // namespace

void InstallShutdownSignals() {
  if (pipe2(wake_pipe, O_CLOEXEC) != 0) _exit(1);
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  // A log whose reader has gone, or a file that has become too large, is an error to who writes, and no more.
  for (const int signal : {SIGPIPE, SIGXFSZ}) std::signal(signal, SIG_IGN);
}

void ShutDownGracefully() { graceful = true; }

int WaitForShutdownSignal() {
  // poll rather than a blocking read: the thread sanitizer runs handlers late, and only poll returns for it to do so.
  pollfd readable{.fd = wake_pipe[0], .events = POLLIN, .revents = 0};
  while (poll(&readable, 1, -1) < 0 && errno == EINTR) {
  }
  unsigned char number = 0;
  return read(wake_pipe[0], &number, 1) == 1 ? number : SIGTERM;
}

bool ExitWithParent() {
#ifdef __linux__
  const pid_t parent = getppid();
  if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return false;
  // It may have ended before the kernel knew of our wish.
  if (getppid() != parent) _exit(128 + SIGTERM);
  return true;
#else
  return false;
#endif
}

}  // namespace recpile
