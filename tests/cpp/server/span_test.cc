// What a collector is told of a request, and where it is.
#include "tracing/span.h"

#include <gtest/gtest.h>

#include "tracing/otlp_exporter.h"

namespace recpile::tracing {
namespace {

using std::chrono::milliseconds;

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

serving::RequestRecord Answered(Status status) {
  const TraceTime start{milliseconds(1000)};
  const auto batch = std::make_shared<BatchTrace>(
      BatchTrace{7, 20, 3, 1, start + milliseconds(4), start + milliseconds(5), {}, start + milliseconds(8)});
  const auto trace = std::make_shared<RequestTrace>(start + milliseconds(1), 1);
  trace->batches[0] = batch;
  return {.protocol = "grpc",
          .model = "ranker",
          .version = "3",
          .id = "42",
          .status = std::move(status),
          .started = start,
          .elapsed = milliseconds(10),
          .trace = trace};
}

std::vector<nlohmann::json> SpansOf(const serving::RequestRecord& record) {
  const auto request = ExportRequest({SpanOf(record, ContextOf(kSampled, 0))}, "1.2");
  const auto& resource = request["resourceSpans"][0];
  EXPECT_EQ(resource["resource"]["attributes"][0]["value"]["stringValue"], "recpile-server");
  EXPECT_EQ(resource["scopeSpans"][0]["scope"]["version"], "1.2");
  return resource["scopeSpans"][0]["spans"];
}

TEST(ExportRequest, HasTheRequestHowLongItWaitedAndRan) {
  const auto spans = SpansOf(Answered(Status()));
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans[0]["name"], "infer ranker");
  EXPECT_EQ(spans[0]["kind"], 2);
  EXPECT_EQ(spans[0]["parentSpanId"], "00f067aa0ba902b7");
  EXPECT_FALSE(spans[0].contains("status"));
  const auto nanoseconds = [](const nlohmann::json& span) {
    return std::stoll(span["endTimeUnixNano"].get<std::string>()) -
           std::stoll(span["startTimeUnixNano"].get<std::string>());
  };
  EXPECT_EQ(nanoseconds(spans[0]), 10'000'000);
  EXPECT_EQ(spans[1]["name"], "queue");
  EXPECT_EQ(nanoseconds(spans[1]), 3'000'000);
  EXPECT_EQ(spans[2]["name"], "run");
  EXPECT_EQ(nanoseconds(spans[2]), 4'000'000);
  for (const int child : {1, 2}) {
    EXPECT_EQ(spans[child]["parentSpanId"], spans[0]["spanId"]);
    EXPECT_EQ(spans[child]["traceId"], spans[0]["traceId"]);
  }
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
