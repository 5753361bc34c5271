#include "http/service.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "held_backend.h"
#include "nlohmann/json.hpp"

namespace recpile::http {
namespace {

using nlohmann::json;
using testing::HeldBackend;
using testing::kInferAnswer;
using testing::kInferJson;

Request MakeRequest(std::string method, std::string target, std::string body = "") {
  const auto owner = std::make_shared<const std::string>(std::move(body));
  return {.head = {.method = std::move(method), .target = std::move(target)},
          .body = std::as_bytes(std::span(*owner)),
          .body_owner = owner};
}

class ServiceTest : public ::testing::Test {
 protected:
  // The answer, if there is one already.
  std::optional<Response> Handle(Service& service, Request request) {
    service.Handle(std::move(request), [this](Service::Finish finish) {
      ++done_calls_;
      response_ = finish();
    });
    return std::exchange(response_, std::nullopt);
  }
  Response Get(Service& service, const std::string& target) { return *Handle(service, MakeRequest("GET", target)); }
  static std::string Error(const Response& response) { return json::parse(response.body)["error"]; }

  HeldBackend held_;
  Service service_{held_.Make()};
  std::optional<Response> response_;
  int done_calls_ = 0;
};

TEST_F(ServiceTest, AnswersInferenceWhenTheEngineDoes) {
  EXPECT_FALSE(Handle(service_, MakeRequest("POST", "/v2/models/toy/infer", kInferJson)));
  held_.AnswerAll();
  ASSERT_TRUE(response_);
  EXPECT_EQ(done_calls_, 1);
  EXPECT_EQ(response_->status, 200);
  EXPECT_EQ(response_->content_type, "application/json");
  EXPECT_EQ(response_->body, kInferAnswer);
  const json stats = json::parse(Get(service_, "/v2/models/toy/stats").body);
  EXPECT_GT(stats["model_stats"][0]["inference_stats"]["success"]["ns"], 0);
}

TEST_F(ServiceTest, ABinaryAnswerSaysSo) {
  std::string body = kInferJson;
  body.insert(body.size() - 1, R"(,"parameters":{"binary_data_output":true})");
  Handle(service_, MakeRequest("POST", "/v2/models/toy/versions/1/infer", body));
  held_.AnswerAll();
  ASSERT_TRUE(response_);
  EXPECT_EQ(response_->content_type, "application/octet-stream");
  EXPECT_EQ(response_->body.size() - response_->json_length.value(), sizeof(float));
}

TEST_F(ServiceTest, MapsStatusCodesToHttp) {
  const std::pair<Status, int> cases[] = {
      {Status::InvalidArgument("m"), 400}, {Status::NotFound("m"), 404}, {Status::Unavailable("m"), 503},
      {Status::Unsupported("m"), 501},     {Status::Internal("m"), 500},
  };
  for (const auto& [status, http] : cases) {
    HeldBackend refusing_backend;
    Service refusing(refusing_backend.Make(status));
    const auto refused = Handle(refusing, MakeRequest("POST", "/v2/models/toy/infer", kInferJson));
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->status, http);
    EXPECT_EQ(refused->retry_after, http == 503);
    EXPECT_EQ(refused->body, R"({"error":"m"})");

    Handle(service_, MakeRequest("POST", "/v2/models/toy/infer", kInferJson));
    held_.AnswerAll(status);
    ASSERT_TRUE(response_);
    EXPECT_EQ(std::exchange(response_, std::nullopt)->status, http);
  }
}

TEST_F(ServiceTest, ABadRequestNeverReachesTheEngine) {
  const auto response = Handle(service_, MakeRequest("POST", "/v2/models/toy/infer", "{"));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 400);
}

TEST_F(ServiceTest, TheJsonLengthMustBeANumber) {
  for (const char* length : {"x", "-1", "1 ", "99999999999999999999"}) {
    Request request = MakeRequest("POST", "/v2/models/toy/infer", kInferJson);
    request.head.json_length = length;
    const auto response = Handle(service_, std::move(request));
    ASSERT_TRUE(response) << length;
    EXPECT_EQ(response->status, 400);
    EXPECT_NE(Error(*response).find("Inference-Header-Content-Length"), std::string::npos);
  }
}

TEST_F(ServiceTest, RefusesByTheHeaderAlone) {
  const auto refusal = [&](const char* method, const char* target, const char* encoding = "") {
    return service_.Refuse({.method = method, .target = target, .content_encoding = encoding});
  };
  EXPECT_FALSE(refusal("POST", "/v2/models/toy/infer"));
  EXPECT_FALSE(refusal("POST", "/v2/models/toy/infer", "identity"));
  EXPECT_EQ(refusal("POST", "/v2/models/toy/infer", "gzip")->status, 415);
  EXPECT_EQ(refusal("POST", "/nowhere")->status, 404);
  EXPECT_EQ(Error(*refusal("POST", "/v2/models/other/infer")),
            "model 'other' is not served here; this server has 'toy'");
  EXPECT_EQ(Error(*refusal("GET", "/v2/models/toy/versions/2")),
            "model 'toy' has no version '2'; this server has version '1'");
  EXPECT_EQ(refusal("GET", "/v2/models/toy/infer")->status, 405);
  EXPECT_EQ(refusal("GET", "/v2/models/toy/infer")->allow, "POST");
  EXPECT_EQ(refusal("DELETE", "/v2")->allow, "GET, HEAD");
}

TEST_F(ServiceTest, GetEndpoints) {
  EXPECT_EQ(json::parse(Get(service_, "/v2").body)["version"], "9.9");
  EXPECT_EQ(json::parse(Get(service_, "/v2/models/toy").body)["name"], "toy");
  EXPECT_EQ(json::parse(Get(service_, "/v2/models/toy/config").body)["max_batch_size"], 0);
  EXPECT_EQ(json::parse(Get(service_, "/v2/models/stats").body)["model_stats"][0]["execution_count"], 2);
  for (const char* target : {"/v2/health/live", "/v2/health/ready", "/v2/models/toy/ready"}) {
    EXPECT_EQ(Get(service_, target).status, 200);
    EXPECT_EQ(Get(service_, target).body, "");
  }
}

TEST_F(ServiceTest, WhileDrainingItIsAliveButNotReady) {
  service_.StartDraining();
  EXPECT_EQ(Get(service_, "/v2/health/live").status, 200);
  EXPECT_EQ(Get(service_, "/v2/health/ready").status, 503);
  EXPECT_EQ(Get(service_, "/v2/models/toy/ready").status, 503);
  EXPECT_FALSE(Handle(service_, MakeRequest("POST", "/v2/models/toy/infer", kInferJson)));
  held_.AnswerAll();
  EXPECT_EQ(response_->status, 200);
}

}  // namespace
}  // namespace recpile::http
