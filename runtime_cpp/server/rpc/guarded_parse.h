// How gRPC reads our requests, which may be hostile, where memory may run out: gRPC calls the parser on a thread of
// ours, deep within its own code, which lets what is thrown end the process.
#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>

#include <new>

#include "rpc/health.pb.h"
#include "rpc/inference.pb.h"

namespace recpile::rpc {

// gRPC's own way, but for messages that are much larger than names and parameters need be, which would be held until
// their call is over, and for memory that runs out: the call ends with INTERNAL, "Unable to parse request ...".
template <class Message>
class GuardedParse {
 public:
  static constexpr size_t kMostBytes = 64 << 10;

  static grpc::Status Serialize(const google::protobuf::MessageLite& message, grpc::ByteBuffer* bytes, bool* own) {
    return grpc::GenericSerialize<grpc::ProtoBufferWriter, Message>(message, bytes, own);
  }
  static grpc::Status Deserialize(grpc::ByteBuffer* bytes, google::protobuf::MessageLite* message) {
    try {
      if (bytes->Length() > kMostBytes) {
        bytes->Clear();
        return {grpc::StatusCode::RESOURCE_EXHAUSTED, "too large"};  // so short a text needs no memory
      }
      return grpc::GenericDeserialize<grpc::ProtoBufferReader, Message>(bytes, message);
    } catch (const std::bad_alloc&) {
      message->Clear();
      bytes->Clear();
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "out of memory"};
    }
  }
};

}  // namespace recpile::rpc

// Every request but infer's, which infer_message.h reads. To be seen before gRPC is asked to read one:
// whoever includes the generated service includes this first, the generated code itself by an option of the compiler.
namespace grpc {

template <class Message>
using Guarded = recpile::rpc::GuardedParse<Message>;

template <>
class SerializationTraits<grpc::health::v1::HealthCheckRequest> : public Guarded<grpc::health::v1::HealthCheckRequest> {
};
template <>
class SerializationTraits<inference::ServerLiveRequest> : public Guarded<inference::ServerLiveRequest> {};
template <>
class SerializationTraits<inference::ServerReadyRequest> : public Guarded<inference::ServerReadyRequest> {};
template <>
class SerializationTraits<inference::ModelReadyRequest> : public Guarded<inference::ModelReadyRequest> {};
template <>
class SerializationTraits<inference::ServerMetadataRequest> : public Guarded<inference::ServerMetadataRequest> {};
template <>
class SerializationTraits<inference::ModelMetadataRequest> : public Guarded<inference::ModelMetadataRequest> {};
template <>
class SerializationTraits<inference::ModelConfigRequest> : public Guarded<inference::ModelConfigRequest> {};
template <>
class SerializationTraits<inference::ModelStatisticsRequest> : public Guarded<inference::ModelStatisticsRequest> {};
template <>
class SerializationTraits<inference::RepositoryIndexRequest> : public Guarded<inference::RepositoryIndexRequest> {};
template <>
class SerializationTraits<inference::RepositoryModelLoadRequest>
    : public Guarded<inference::RepositoryModelLoadRequest> {};
template <>
class SerializationTraits<inference::RepositoryModelUnloadRequest>
    : public Guarded<inference::RepositoryModelUnloadRequest> {};
template <>
class SerializationTraits<inference::SystemSharedMemoryStatusRequest>
    : public Guarded<inference::SystemSharedMemoryStatusRequest> {};
template <>
class SerializationTraits<inference::SystemSharedMemoryRegisterRequest>
    : public Guarded<inference::SystemSharedMemoryRegisterRequest> {};
template <>
class SerializationTraits<inference::SystemSharedMemoryUnregisterRequest>
    : public Guarded<inference::SystemSharedMemoryUnregisterRequest> {};

}  // namespace grpc
