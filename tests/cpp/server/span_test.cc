// What a collector is told of a request, and where it is.
#include "tracing/span.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "tracing/otlp_exporter.h"
#include "tracing/otlp_json.h"

namespace recpile::tracing {
namespace {

using std::chrono::milliseconds;
using Json = nlohmann::json;

constexpr char kSampled[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
constexpr char kNotSampled[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

TEST(TraceContext, IsTheClientsAndSoIsWhetherItIsSampled) {
  const TraceContext context = ContextOf(kSampled, 0);
  EXPECT_EQ(context.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(context.parent_id, "00f067aa0ba902b7");
  EXPECT_TRUE(context.sampled);
  EXPECT_FALSE(ContextOf(kNotSampled, 1).sampled);
}

TEST(TraceContext, WithoutAClientsATraceBeginsHere) {
  const TraceContext one = ContextOf("", 1), other = ContextOf("", 0);
  EXPECT_EQ(one.trace_id.size(), 32u);
  EXPECT_EQ(one.trace_id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(one.trace_id, other.trace_id);
  EXPECT_EQ(one.parent_id, "");
  EXPECT_TRUE(one.sampled);
  EXPECT_FALSE(other.sampled);
}

const TraceTime kStart{milliseconds(1000)};
const std::vector<StageInfo> kStages = {{"lookups", "embedding"}, {"dense", "compiled"}};

// Joined from 4 to 5 ms, its stages from 5 to 6 and from 6 to 8.
std::shared_ptr<BatchTrace> Ran(uint64_t id) {
  const auto at = [](int ms) { return kStart + milliseconds(ms); };
  return std::make_shared<BatchTrace>(BatchTrace{.id = id,
                                                 .candidates = 20,
                                                 .requests = 3,
                                                 .rows = 32,
                                                 .instance = 1,
                                                 .start = at(4),
                                                 .joined = at(5),
                                                 .stages = {{at(5), at(6), 71}, {at(6), at(8), 72}},
                                                 .end = at(8)});
}

std::shared_ptr<RequestTrace> Traced(const std::vector<std::shared_ptr<const BatchTrace>>& batches) {
  const auto trace = std::make_shared<RequestTrace>(kStart + milliseconds(1), batches.size());
  for (size_t i = 0; i < batches.size(); ++i) {
    trace->pieces[i] = {batches[i], 5, kStart + milliseconds(8), kStart + milliseconds(9)};
  }
  return trace;
}

serving::RequestRecord Answered(Status status, const std::shared_ptr<RequestTrace>& trace = Traced({Ran(7)})) {
  return {.protocol = "grpc",
          .model = "ranker",
          .version = "3",
          .id = "42",
          .status = std::move(status),
          .started = kStart,
          .elapsed = milliseconds(10),
          .trace = trace,
          .stages = kStages};
}

std::vector<Json> Exported(const std::vector<RequestSpan>& requests) {
  const Json body = Json::parse(ExportRequest(requests, "1.2"));
  const Json& resource = body["resourceSpans"][0];
  EXPECT_EQ(resource["resource"]["attributes"][0]["value"]["stringValue"], "recpile-server");
  EXPECT_EQ(resource["scopeSpans"][0]["scope"]["version"], "1.2");
  return resource["scopeSpans"][0]["spans"];
}

std::vector<Json> SpansOf(const serving::RequestRecord& record) {
  return Exported({SpanOf(record, ContextOf(kSampled, 0))});
}

// "name in parent, from-to" in milliseconds since the request began.
std::vector<std::string> Outline(const std::vector<Json>& spans) {
  std::map<std::string, std::string> names = {{"00f067aa0ba902b7", "client"}};
  for (const Json& span : spans) names[span["spanId"]] = span["name"];
  const int64_t begin = std::stoll(spans[0]["startTimeUnixNano"].get<std::string>());
  const auto since = [&](const Json& time) {
    return std::to_string((std::stoll(time.get<std::string>()) - begin) / 1'000'000);
  };
  std::vector<std::string> lines;
  for (const Json& span : spans) {
    lines.push_back(span["name"].get<std::string>() + " in " + names.at(span["parentSpanId"]) + ", " +
                    since(span["startTimeUnixNano"]) + "-" + since(span["endTimeUnixNano"]));
  }
  return lines;
}

std::map<std::string, std::string> Attributes(const Json& span) {
  std::map<std::string, std::string> read;
  for (const Json& one : span["attributes"]) read[one["key"]] = one["value"].begin()->get<std::string>();
  return read;
}

TEST(ExportRequest, HasTheRequestAndInItThePartsOfItsBatch) {
  const auto spans = SpansOf(Answered(Status()));
  EXPECT_EQ(Outline(spans),
            (std::vector<std::string>{"infer ranker in client, 0-10", "queue in infer ranker, 1-4",
                                      "run in infer ranker, 4-9", "coalesce in run, 4-5", "lookups in run, 5-6",
                                      "dense in run, 6-8", "split in run, 8-9"}));
  EXPECT_EQ(spans[0]["kind"], 2);
  EXPECT_FALSE(spans[0].contains("status"));
  for (const Json& span : spans) EXPECT_EQ(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
  using Read = std::map<std::string, std::string>;
  EXPECT_EQ(Attributes(spans[2]), (Read{{"recpile.batch", "7"},
                                        {"recpile.batch.requests", "3"},
                                        {"recpile.batch.candidates", "20"},
                                        {"recpile.batch.rows", "32"},
                                        {"recpile.candidates", "5"},
                                        {"recpile.instance", "1"}}));
  EXPECT_EQ(Attributes(spans[4]), (Read{{"recpile.stage.kind", "embedding"},
                                        {"recpile.batch.candidates", "20"},
                                        {"recpile.batch.rows", "32"},
                                        {"recpile.instance", "1"},
                                        {"thread.id", "71"}}));
}

TEST(ExportRequest, ACutRequestHasEveryBatchOnceThatItRanIn) {
  const auto first = Ran(7), second = Ran(8);
  const auto spans = SpansOf(Answered(Status(), Traced({first, second, nullptr, second})));
  std::vector<std::string> ran, split;
  for (const Json& span : spans) {
    if (span["name"] == "run") ran.push_back(Attributes(span)["recpile.candidates"]);
    if (span["name"] == "split") split.push_back(span["parentSpanId"]);
  }
  EXPECT_EQ(ran, (std::vector<std::string>{"5", "10"}));  // of the second batch two pieces
  EXPECT_EQ(split.size(), 3u);
}

TEST(ExportRequest, AStageThatDidNotRunAndAnAnswerThatThereIsNotAreLeftOut) {
  const auto batch = Ran(7);
  batch->stages[1] = {};
  const auto trace = Traced({batch});
  trace->pieces[0].split = trace->pieces[0].answered = {};
  const auto outline = Outline(SpansOf(Answered(Status::Internal("dense broke"), trace)));
  EXPECT_EQ(outline,
            (std::vector<std::string>{"infer ranker in client, 0-10", "queue in infer ranker, 1-4",
                                      "run in infer ranker, 4-8", "coalesce in run, 4-5", "lookups in run, 5-6"}));
}

std::vector<Json> Runs(const std::vector<RequestSpan>& requests) {
  std::vector<Json> runs = Exported(requests);
  std::erase_if(runs, [](const Json& span) { return span["name"] != "run"; });
  return runs;
}

TEST(ExportRequest, RequestsThatShareABatchHaveEachItsPartsAndAreLinked) {
  const auto shared = Ran(7);
  std::vector<RequestSpan> requests;
  for (int i = 0; i < 2; ++i) requests.push_back(SpanOf(Answered(Status(), Traced({shared})), ContextOf("", 1)));
  requests.push_back(SpanOf(Answered(Status()), ContextOf("", 1)));
  EXPECT_EQ(Exported(requests).size(), 3 * 7u);
  const auto runs = Runs(requests);
  for (const size_t i : {0, 1}) {
    const RequestSpan& other = requests[1 - i];
    EXPECT_EQ(runs[i]["traceId"], requests[i].context.trace_id);
    EXPECT_EQ(runs[i]["links"],
              Json::parse(R"([{"traceId":")" + other.context.trace_id + R"(","spanId":")" + other.span_id + R"("}])"));
    EXPECT_FALSE(runs[i].contains("droppedLinksCount"));
  }
  EXPECT_FALSE(runs[2].contains("links"));
}

TEST(ExportRequest, OfManyThatShareABatchSomeAreLinkedAndTheRestCounted) {
  const auto shared = Ran(7);
  std::vector<RequestSpan> requests;
  for (int i = 0; i < 50; ++i) requests.push_back(SpanOf(Answered(Status(), Traced({shared})), ContextOf("", 1)));
  for (const Json& run : Runs(requests)) {
    EXPECT_EQ(run["links"].size(), 32u);
    EXPECT_EQ(run["droppedLinksCount"], 17);
  }
}

TEST(ExportRequest, IsJsonWhateverAClientSends) {
  auto record = Answered(Status::InvalidArgument("unknown input '\xff\"\n'"));
  record.id = "\xc3\"\\";
  const auto spans = SpansOf(record);
  EXPECT_EQ(spans[0]["status"]["message"], "unknown input '\uFFFD\"\n'");
  EXPECT_EQ(Attributes(spans[0])["recpile.request_id"], "\uFFFD\"\\");
}

TEST(ExportRequest, AnErrorIsTheServersOnlyIfItIsToBlame) {
  const auto bad = SpansOf(Answered(Status::InvalidArgument("no such input")))[0]["status"];
  EXPECT_EQ(bad["message"], "no such input");
  EXPECT_FALSE(bad.contains("code"));
  EXPECT_EQ(SpansOf(Answered(Status::Internal("broken")))[0]["status"]["code"], 2);
}

TEST(ExportRequest, ARequestThatDidNotRunIsOneSpan) {
  auto record = Answered(Status::Unavailable("too late"));
  record.trace = std::make_shared<RequestTrace>(TraceTime(), 1);
  EXPECT_EQ(SpansOf(record).size(), 1u);
}

std::string Parsed(const std::string& url) {
  const auto endpoint = ParseEndpoint(url);
  if (!endpoint.ok()) return endpoint.status().message();
  return endpoint.value().host + " " + endpoint.value().port + " " + endpoint.value().path;
}

TEST(ParseEndpoint, FillsInWhatIsLeftOut) {
  EXPECT_EQ(Parsed("http://collector"), "collector 4318 /v1/traces");
  EXPECT_EQ(Parsed("http://127.0.0.1:99/"), "127.0.0.1 99 /v1/traces");
  EXPECT_EQ(Parsed("http://[::1]:99/a/b"), "::1 99 /a/b");
}

TEST(ParseEndpoint, SaysWhatIsWrong) {
  for (const char* url : {"https://collector", "collector:4318", "http://", "http://:1", "http://a:b", "http://a:0",
                          "http://a:70000", "http://[::1", "http://a b", "http://a/\r\nX: 1"}) {
    EXPECT_NE(Parsed(url).find("use http://HOST[:4318][/v1/traces]"), std::string::npos) << Parsed(url);
  }
}

}  // namespace
}  // namespace recpile::tracing
