// The gRPC server on a free port, and a client of it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "rpc/guarded_parse.h"
#include "rpc/inference.grpc.pb.h"
#include "rpc/server.h"
#include "support.h"

namespace recpile::rpc {

inline std::unique_ptr<Server> StartServer(serving::Context context, ServerOptions options = {}) {
  options.port = 0;
  auto server = Server::Bind(options);
  if (server.ok() && server.value()->Serve(std::move(context)).ok()) return std::move(server).value();
  ADD_FAILURE() << server.status().message();
  return nullptr;
}

using Stub = inference::GRPCInferenceService::Stub;

inline std::unique_ptr<Stub> Connect(const Server& server) {
  return inference::GRPCInferenceService::NewStub(
      grpc::CreateChannel(server.address(), grpc::InsecureChannelCredentials()));
}

// Longer than any answer takes: a call that ends so has got none.
struct PatientContext : grpc::ClientContext {
  PatientContext() { set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20)); }
};

// A request for the score of one row, of such values.
inline inference::ModelInferRequest ScoreRequest(std::initializer_list<float> row = {1, 2, 3, 4}) {
  inference::ModelInferRequest request;
  request.set_model_name("toy");
  request.set_id("a request with a name that no small string holds");
  auto* input = request.add_inputs();
  input->set_name("dense");
  input->set_datatype("FP32");
  input->add_shape(1);
  input->add_shape(4);
  request.add_raw_input_contents(testing::Bytes<float>(row));
  request.add_outputs()->set_name("score");
  return request;
}

// The score; NaN if that is no such answer.
inline float ScoreOf(const inference::ModelInferResponse& response) {
  float score = std::numeric_limits<float>::quiet_NaN();
  if (response.raw_output_contents_size() == 1 && response.raw_output_contents(0).size() == sizeof(score)) {
    std::memcpy(&score, response.raw_output_contents(0).data(), sizeof(score));
  }
  return score;
}

}  // namespace recpile::rpc
