#include "artifact/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "artifact/unmap.h"

namespace recpile {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  // Non-blocking, or a FIFO of that name would be waited for.
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) {
    const std::string reason = std::strerror(errno);
    if (errno == ENOENT) return Status::NotFound("no artifact at " + path);
    return Status::InvalidArgument("cannot open " + path + ": " + reason);
  }
  struct stat info{};
  if (fstat(file.fd, &info) != 0) return Status::Internal("cannot stat " + path + ": " + std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return Status::InvalidArgument(path + " is not a file");
  if (info.st_size == 0) return Status::InvalidArgument(path + " is empty");
  const auto size = static_cast<size_t>(info.st_size);
  void* at = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (at == MAP_FAILED) return Status::Internal("cannot map " + path + ": " + std::strerror(errno));
  std::shared_ptr<const MappedFile> mapped(new MappedFile({static_cast<const std::byte*>(at), size}, file.fd));
  file.fd = -1;  // its owner now closes it
  return mapped;
}

bool MappedFile::Read(size_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t got = pread(descriptor_, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = EIO;  // it has been cut short
    if (got <= 0) return false;
    offset += static_cast<size_t>(got);
    into = into.subspan(static_cast<size_t>(got));
  }
  return true;
}

void MappedFile::Forget(size_t begin, size_t end) const {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  begin = begin / page * page;
  madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  Unmap(bytes_.data(), bytes_.size());
  close(descriptor_);
}

}  // namespace recpile
