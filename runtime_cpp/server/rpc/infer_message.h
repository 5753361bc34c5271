// Infer requests as they come over the wire, of which little need be read to refuse them.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>

#include "recpile/status.h"
#include "rpc/inference.pb.h"

namespace recpile::rpc {

// What a message begins with, in the order in which all known clients write it; empty where it does not.
struct MessageTarget {
  std::string model;
  std::string version;
};
MessageTarget TargetOf(grpc::ByteBuffer& message);

using RequestPtr = std::shared_ptr<const inference::ModelInferRequest>;

// Everything in front of the raw_input_contents, which are neither read nor copied. Null: it is no such message, or
// there is no memory for it; Parse will say so.
RequestPtr ParseWithoutTensors(grpc::ByteBuffer& message);

// InvalidArgument: it is no such message. Unavailable: there is no memory for it.
Result<RequestPtr> Parse(grpc::ByteBuffer& message);

// The bytes of an answer.
grpc::ByteBuffer Serialize(const inference::ModelInferResponse& response);

}  // namespace recpile::rpc
