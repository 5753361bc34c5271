// An HTTP request from anywhere: its header and body read as a connection reads them, and every endpoint behind it.
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "decoded_request.h"
#include "http/request_body.h"
#include "http/service.h"
#include "kserve/control_json.h"
#include "serving/traceparent.h"

namespace recpile {
namespace {

// Two rows of zeros for every output.
std::vector<Tensor> Answer(const ModelInfo& model) {
  static const std::vector<std::byte> zeros(64);
  std::vector<Tensor> outputs;
  for (const TensorSpec& spec : model.outputs) {
    Tensor tensor{spec.name, spec.dtype, spec.shape, {}, nullptr};
    tensor.shape[0] = 2;
    size_t bytes = DTypeBytes(spec.dtype);
    for (const int64_t size : tensor.shape) bytes *= static_cast<size_t>(size);
    tensor.data = {zeros.data(), bytes};
    outputs.push_back(std::move(tensor));
  }
  return outputs;
}

serving::Context Serving(serving::Models* models) {
  auto model = std::make_shared<serving::ServedModel>();
  model->info = testing::FuzzedModel();
  model->submit = [info = model->info](const InferRequest& request, const InferCallback& done) {
    testing::CheckDecoded(request);
    done(Answer(info));
    return Status();
  };
  model->stats = [] { return EngineStats(); };
  models->Publish("toy", {model});
  return {.models = models, .server_version = "0"};
}

std::string Field(const auto& message, const auto& name) {
  const auto value = message[name];
  return std::string(value.data(), value.size());
}

void Handle(http::Service& service, http::Request request) {
  (void)serving::ValidTraceparent(request.head.traceparent);
  // Shared memory is off here: what a stranger registers would be of this machine.
  const std::string_view text(reinterpret_cast<const char*>(request.body.data()), request.body.size());
  if (request.head.target.ends_with("/register")) (void)kserve::ParseRegisterRequest(text, "region");
  int answers = 0;
  service.Handle(std::move(request), [&](const http::Service::Finish& finish) {
    const http::Response response = finish();
    if (response.status < 200 || response.status > 599) __builtin_trap();
    if (response.json_length && *response.json_length > response.body.size()) __builtin_trap();
    ++answers;
  });
  if (answers != 1) __builtin_trap();
}

}  // namespace
}  // namespace recpile

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace recpile;
  namespace bhttp = boost::beast::http;
  static serving::Models models;
  static http::Service service(Serving(&models));

  bhttp::request_parser<http::RequestBody> parser;
  parser.header_limit(8 << 10);
  parser.body_limit(1 << 20);
  parser.eager(true);
  boost::beast::error_code error;
  size_t read = 0;
  while (!parser.is_done()) {
    const size_t more = parser.put(boost::asio::buffer(data + read, size - read), error);
    read += more;
    if (error || more == 0) return 0;
  }
  const auto& message = parser.get();
  http::RequestHead head{.method = std::string(message.method_string()),
                         .target = std::string(message.target()),
                         .content_encoding = Field(message, bhttp::field::content_encoding),
                         .json_length = Field(message, kserve::kLengthHeader),
                         .traceparent = Field(message, "traceparent")};
  const auto body = std::make_shared<const http::RequestBody::value_type>(std::move(parser.get().body()));
  Handle(service, {.head = std::move(head), .body = body->bytes(), .body_owner = body, .gone = nullptr});
  return 0;
}
