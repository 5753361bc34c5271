// What is recorded of live requests, and the file that holds it.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "recording/file.h"
#include "recording/recorder.h"
#include "support.h"
#include "temporary_folder.h"

namespace recpile::recording {
namespace {

using testing::Bytes;
using testing::ToyModel;

class Recording : public ::testing::Test {
 protected:
  std::string Content() const {
    std::ifstream in(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::unique_ptr<Recorder> Open(double share = 1, uint64_t max_bytes = 1 << 20) const {
    auto opened = Recorder::Open({.file = file_, .share = share, .max_bytes = max_bytes});
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return opened.ok() ? std::move(opened).value() : nullptr;
  }

  const testing::TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "requests.rec";
};

struct Record {
  nlohmann::json json;
  std::string tensors;
};

// The file's records, read as docs/recording.md says; the test fails if bytes are left.
std::vector<Record> Read(const std::string& content) {
  std::vector<Record> records;
  EXPECT_TRUE(content.starts_with("recpile-recording 1\n"));
  size_t at = 20;
  while (at < content.size()) {
    uint32_t size = 0;
    uint32_t json_size = 0;
    std::memcpy(&size, content.data() + at, 4);
    std::memcpy(&json_size, content.data() + at + 12, 4);
    const std::string payload = content.substr(at + 16, size - 4);
    records.push_back({nlohmann::json::parse(payload.substr(0, json_size)), payload.substr(json_size)});
    at += 12 + size;
  }
  EXPECT_EQ(at, content.size());
  return records;
}

// Owns nothing: the bytes are the test's.
Tensor Input(const std::string& name, DType dtype, Shape shape, const std::string& bytes) {
  return {.name = name, .dtype = dtype, .shape = std::move(shape), .data = std::as_bytes(std::span(bytes))};
}

// Answers each request at once with one score of 0.5, or refuses it.
serving::ModelPtr Answers(Status refusal = Status()) {
  return std::make_shared<const serving::ServedModel>(
      serving::ServedModel{.info = ToyModel(), .submit = [refusal](InferRequest, InferCallback done) {
                             if (!refusal.ok()) return refusal;
                             static const std::string half = Bytes<float>({0.5F});
                             done(std::vector<Tensor>{Input("score", DType::kFp32, {1}, half)});
                             return Status();
                           }});
}

InferResult Ask(const serving::ModelPtr& model) {
  const std::string ids = Bytes<int64_t>({7, 8});
  std::promise<InferResult> answer;
  serving::Submit(
      model, {.inputs = {Input("ids.values", DType::kInt64, {2}, ids)}, .priority = 1, .timeout_microseconds = 250},
      serving::Clock::now(), [&](InferResult result) { answer.set_value(std::move(result)); });
  return answer.get_future().get();
}

TEST_F(Recording, HoldsRequestAndAnswer) {
  {
    const auto recorder = Open();
    EXPECT_TRUE(Ask(recorder->Watch(Answers())).ok());
  }
  const std::vector<Record> records = Read(Content());
  ASSERT_EQ(records.size(), 1U);
  nlohmann::json json = records[0].json;
  EXPECT_GT(json["at_us"], 1'700'000'000'000'000);
  EXPECT_GE(json["elapsed_us"], 0);
  json.erase("at_us");
  json.erase("elapsed_us");
  EXPECT_EQ(json, nlohmann::json::parse(R"({
    "model": "toy", "version": "1", "priority": 1, "timeout_us": 250, "partial_ok": false, "left_out": 0, "status": "OK", "error": "",
    "inputs": [{"name": "ids.values", "datatype": "INT64", "shape": [2]}],
    "outputs": [{"name": "score", "datatype": "FP32", "shape": [1]}]})"));
  EXPECT_EQ(records[0].tensors, Bytes<int64_t>({7, 8}) + Bytes<float>({0.5F}));
  EXPECT_EQ(std::filesystem::status(file_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(Recording, HoldsRequestsThatTheModelRefuses) {
  {
    const auto recorder = Open();
    EXPECT_FALSE(Ask(recorder->Watch(Answers(Status::Unavailable("full")))).ok());
  }
  const std::vector<Record> records = Read(Content());
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].json["status"], "UNAVAILABLE");
  EXPECT_EQ(records[0].json["error"], "full");
  EXPECT_EQ(records[0].json["outputs"].size(), 0U);
  EXPECT_EQ(records[0].tensors, Bytes<int64_t>({7, 8}));
}

TEST_F(Recording, HoldsItsShare) {
  const auto recorder = Open(0.25);
  const serving::ModelPtr model = recorder->Watch(Answers());
  for (int i = 0; i < 4000; ++i) EXPECT_TRUE(Ask(model).ok());
  recorder->Flush();
  EXPECT_NEAR(static_cast<double>(recorder->stats().recorded), 1000, 100);
  EXPECT_EQ(recorder->stats().dropped, 0U);
}

TEST_F(Recording, StopsAtItsLimitWithWholeRecordsAndServingGoesOn) {
  const auto recorder = Open(1, 1000);
  const serving::ModelPtr model = recorder->Watch(Answers());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Ask(model).ok());
  recorder->Flush();
  const std::string content = Content();
  EXPECT_LE(content.size(), 1000U);
  EXPECT_GT(content.size(), 600U);
  EXPECT_TRUE(recorder->stats().stopped);
  EXPECT_EQ(recorder->stats().bytes, content.size());
  EXPECT_EQ(Read(content).size(), recorder->stats().recorded);
}

TEST_F(Recording, GoesOnBehindTheLastWholeRecord) {
  {
    EXPECT_TRUE(Ask(Open()->Watch(Answers())).ok());
  }
  const size_t one = Content().size();
  {
    const auto recorder = Open();
    EXPECT_TRUE(Ask(recorder->Watch(Answers())).ok());
  }
  std::filesystem::resize_file(file_, Content().size() - 3);  // as if killed while writing
  {
    const auto recorder = Open();
    EXPECT_EQ(recorder->stats().bytes, one);
    EXPECT_TRUE(Ask(recorder->Watch(Answers())).ok());
  }
  EXPECT_EQ(Read(Content()).size(), 2U);
}

TEST_F(Recording, RefusesWhatIsNoRecordingAndLeavesItAsItIs) {
  std::ofstream(file_) << "a file that somebody needs, of more than twenty bytes";
  const auto opened = Recorder::Open({.file = file_, .share = 1});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().message(), "--record: " + file_.string() +
                                           " is there, and is no recording of this version; give another name, or "
                                           "remove it");
  EXPECT_EQ(Content(), "a file that somebody needs, of more than twenty bytes");
}

TEST_F(Recording, RefusesAFileThatIsBeingWritten) {
  const auto first = Open();
  const auto second = Recorder::Open({.file = file_, .share = 1});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("is being written by another process"), std::string::npos);
}

TEST_F(Recording, RefusesAShareThatIsNone) {
  for (const double share : {0.0, -1.0, 1.5}) {
    const auto opened = Recorder::Open({.file = file_, .share = share});
    ASSERT_FALSE(opened.ok());
    EXPECT_NE(opened.status().message().find("use a number above 0 and up to 1"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(file_));
}

}  // namespace
}  // namespace recpile::recording
