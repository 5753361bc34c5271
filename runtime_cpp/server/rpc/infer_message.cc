#include "rpc/infer_message.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <new>
#include <utility>

namespace recpile::rpc {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using inference::ModelInferRequest;

constexpr uint32_t Tag(int field) { return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED); }

// Longer names are no model's.
constexpr int kLongestName = 1024;

bool ReadString(CodedInputStream& in, std::string* text) {
  int size = 0;
  return in.ReadVarintSizeAsInt(&size) && size <= kLongestName && in.ReadString(text, size);
}

// How many bytes precede the first of raw_input_contents, or all there are. -1: not well formed.
int BytesBeforeTensors(grpc::ByteBuffer& message) {
  grpc::ProtoBufferReader reader(&message);
  CodedInputStream in(&reader);
  while (true) {
    const int here = in.CurrentPosition();
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return in.ConsumedEntireMessage() || here == static_cast<int>(message.Length()) ? here : -1;
    if (tag == Tag(ModelInferRequest::kRawInputContentsFieldNumber)) return here;
    if (!WireFormatLite::SkipField(&in, tag)) return -1;
  }
}

// On an arena of its own: there is less to allocate, and nothing of it is lost if memory runs out on the way.
std::shared_ptr<ModelInferRequest> NewRequest() {
  const auto arena = std::make_shared<google::protobuf::Arena>();
  return {arena, google::protobuf::Arena::CreateMessage<ModelInferRequest>(arena.get())};
}

}  // namespace

MessageTarget TargetOf(grpc::ByteBuffer& message) {
  grpc::ProtoBufferReader reader(&message);
  CodedInputStream in(&reader);
  MessageTarget target;
  if (in.ReadTag() != Tag(ModelInferRequest::kModelNameFieldNumber) || !ReadString(in, &target.model)) return {};
  if (in.ReadTag() == Tag(ModelInferRequest::kModelVersionFieldNumber) && !ReadString(in, &target.version)) return {};
  return target;
}

RequestPtr ParseWithoutTensors(grpc::ByteBuffer& message) {
  const int size = BytesBeforeTensors(message);
  if (size < 0) return nullptr;
  try {
    const auto request = NewRequest();
    grpc::ProtoBufferReader reader(&message);
    if (request->ParseFromBoundedZeroCopyStream(&reader, size)) return request;
  } catch (const std::bad_alloc&) {
  }
  return nullptr;
}

Result<RequestPtr> Parse(grpc::ByteBuffer& message) {
  try {
    const auto request = NewRequest();
    grpc::ProtoBufferReader reader(&message);
    if (reader.status().ok() && request->ParseFromZeroCopyStream(&reader)) return RequestPtr(request);
  } catch (const std::bad_alloc&) {
    return Status::Unavailable("out of memory while reading the request; retry later or send a smaller one");
  }
  return Status::InvalidArgument("the message is no ModelInferRequest of the Open Inference Protocol");
}

grpc::ByteBuffer Serialize(const inference::ModelInferResponse& response) {
  grpc::ByteBuffer message;
  bool own = false;
  // Cannot fail: the answer is valid UTF-8, and below the 2 GiB of a message.
  (void)grpc::GenericSerialize<grpc::ProtoBufferWriter, inference::ModelInferResponse>(response, &message, &own);
  return message;
}

}  // namespace recpile::rpc
