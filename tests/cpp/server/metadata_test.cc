#include "kserve/metadata.h"

#include <gtest/gtest.h>

#include "kserve/datatypes.h"
#include "nlohmann/json.hpp"
#include "support.h"

namespace recpile::kserve {
namespace {

using nlohmann::json;
using testing::ToyModel;

serving::ModelPtr Served(EngineStats stats = {}) {
  return std::make_shared<const serving::ServedModel>(
      serving::ServedModel{.info = ToyModel(), .submit = {}, .stats = [stats] { return stats; }});
}

TEST(Metadata, Server) {
  EXPECT_EQ(ServerMetadataJson("1.2", false),
            R"({"name":"recpile","version":"1.2",)"
            R"("extensions":["binary_tensor_data","model_configuration","model_repository","statistics"]})");
}

TEST(Metadata, ModelHasKserveDatatypesAndOpenDimensions) {
  const json model = json::parse(ModelMetadataJson(ToyModel(), {Served()}));
  EXPECT_EQ(model["name"], "toy");
  EXPECT_EQ(model["versions"], json::array({"1"}));
  EXPECT_EQ(model["inputs"][0], json::parse(R"({"name":"dense","datatype":"FP32","shape":[-1,4]})"));
  EXPECT_EQ(model["outputs"][1], json::parse(R"({"name":"half","datatype":"BF16","shape":[-1,2]})"));
}

TEST(Metadata, ConfigIsTritons) {
  const json config = json::parse(ModelConfigJson(ToyModel()));
  EXPECT_EQ(config["max_batch_size"], 0);
  EXPECT_EQ(config["input"][1], json::parse(R"({"name":"ids.values","data_type":"TYPE_INT64","dims":[-1]})"));
  EXPECT_EQ(config["output"][0]["data_type"], "TYPE_FP32");
}

TEST(Metadata, StatsHaveTritonsForm) {
  const EngineStats stats{.requests_ok = 5,
                          .requests_failed = 1,
                          .requests_rejected = 2,
                          .requests_expired = 1,
                          .samples = 50,
                          .batches = 3,
                          .queued = 4,
                          .queue_ns = 600,
                          .padded_rows = 6,
                          .coalesce_us = {.counts = {3}, .sum = 0.1},
                          .infer_us = {.counts = {1, 2}, .sum = 3.5},
                          .split_us = {.counts = {0, 3}, .sum = 5}};
  const serving::ModelPtr model = Served(stats);
  using std::chrono::nanoseconds;
  model->meter->Answered(StatusCode::kOk, nanoseconds(400));
  model->meter->Answered(StatusCode::kOk, nanoseconds(500));
  model->meter->Answered(StatusCode::kUnavailable, nanoseconds(30));
  const json all = json::parse(ModelStatsJson({model}));
  ASSERT_EQ(all["model_stats"].size(), 1u);
  const json& entry = all["model_stats"][0];
  EXPECT_EQ(entry["name"], "toy");
  EXPECT_EQ(entry["version"], "1");
  EXPECT_EQ(entry["inference_count"], 50);
  EXPECT_EQ(entry["execution_count"], 3);
  EXPECT_GT(entry["last_inference"], 0);
  EXPECT_EQ(entry["inference_stats"], json::parse(R"({"success":{"count":2,"ns":900},"fail":{"count":1,"ns":30},
      "queue":{"count":6,"ns":600},"compute_input":{"count":3,"ns":100},"compute_infer":{"count":3,"ns":3500},
      "compute_output":{"count":3,"ns":5000}})"));
  EXPECT_EQ(entry["recpile"],
            json::parse(R"({"rejected_count":2,"shed_count":0,"expired_count":1,"padded_count":6,"queued_count":4})"));
}

TEST(Metadata, TheBatchUnderWayIsCountedInNoneOfItsParts) {
  const EngineStats stats{.coalesce_us = {.counts = {5}}, .infer_us = {.counts = {4, 1}}, .split_us = {.counts = {4}}};
  const json all = json::parse(ModelStatsJson({Served(stats)}));
  for (const char* part : {"compute_input", "compute_infer", "compute_output"}) {
    EXPECT_EQ(all["model_stats"][0]["inference_stats"][part]["count"], 4) << part;
  }
}

TEST(Metadata, ErrorsSurviveTextThatIsNotUtf8) {
  EXPECT_EQ(ErrorJson("bad \"name\" \xff"), "{\"error\":\"bad \\\"name\\\" \xef\xbf\xbd\"}");
}

TEST(Datatypes, NamesGoBothWays) {
  for (const DType dtype : {DType::kBool, DType::kUint8, DType::kInt8, DType::kInt32, DType::kInt64, DType::kFp16,
                            DType::kBf16, DType::kFp32, DType::kFp64}) {
    EXPECT_EQ(DatatypeFromName(DatatypeName(dtype)), dtype);
  }
  EXPECT_FALSE(DatatypeFromName("fp32"));
  EXPECT_EQ(ConfigTypeName(DType::kBf16), "TYPE_BF16");
}

}  // namespace
}  // namespace recpile::kserve
