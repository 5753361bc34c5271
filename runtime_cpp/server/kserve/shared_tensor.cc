#include "kserve/shared_tensor.h"

#include <memory>
#include <utility>

#include "kserve/aligned_buffer.h"
#include "kserve/datatypes.h"
#include "kserve/tensor_bytes.h"

namespace recpile::kserve {

Status SharedMemoryIsOff() {
  return Status::Unsupported(
      "shared memory is off; send tensors in the request, or start the server with --shared-memory");
}

Status ReadShared(const serving::SharedMemory* memory, const serving::MemorySlice& slice, const std::string& label,
                  Tensor* tensor) {
  if (memory == nullptr) return SharedMemoryIsOff();
  const uint64_t needed = *ElementCount(tensor->shape) * DTypeBytes(tensor->dtype);
  if (slice.byte_size != needed) {
    return Status::InvalidArgument(label + ": shared_memory_byte_size is " + std::to_string(slice.byte_size) +
                                   ", but " + std::string(DatatypeName(tensor->dtype)) + " of shape " +
                                   ShapeToString(tensor->shape) + " takes " + std::to_string(needed) + " bytes");
  }
  // Before any memory is taken: a region bounds what a request can ask for.
  if (const Status known = memory->Read(slice, {}); !known.ok()) {
    return Status::InvalidArgument(label + ": " + known.message());
  }
  auto buffer = std::make_shared<AlignedBuffer>(needed);
  if (const Status read = memory->Read(slice, {buffer->data(), buffer->size()}); !read.ok()) {
    return Status::InvalidArgument(label + ": " + read.message());
  }
  const std::span<const std::byte> bytes = buffer->span();
  return ViewBytes(bytes, std::move(buffer), label, tensor);
}

Status WriteShared(const serving::SharedMemory* memory, const serving::MemorySlice& slice, const Tensor& tensor) {
  if (memory == nullptr) return SharedMemoryIsOff();
  const std::string label = "output '" + tensor.name + "': ";
  if (tensor.data.size() > slice.byte_size) {
    return Status::InvalidArgument(label + "it has " + std::to_string(tensor.data.size()) +
                                   " bytes, but shared_memory_byte_size is " + std::to_string(slice.byte_size));
  }
  const Status written = memory->Write(slice, tensor.data);
  return written.ok() ? written : Status(written.code(), label + written.message());
}

}  // namespace recpile::kserve
