#include "logging.h"

#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kserve/json_text.h"
#include "kserve/request_json.h"

namespace recpile {
namespace {

using kserve::JsonText;

// "2026-05-17T09:30:00.123Z"
std::string Timestamp(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  const std::time_t seconds = since.count() / 1000;
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  const std::string millis = std::to_string(1000 + since.count() % 1000).substr(1);
  return std::string(text, length) + "." + millis + "Z";
}

// {"time": ..., "level": ..., "message": ...}; what is JSON already follows the time and level.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    const std::string_view level(spdlog::level::to_string_view(message.level).data());
    JsonText json = {{"time", Timestamp(message.time)}, {"level", level}};
    const bool is_json = payload.starts_with('{');
    if (!is_json) json.Add("message", payload);
    std::string line = json.text();
    if (is_json) {
      line.back() = ',';
      line += payload.substr(1);
    }
    line += '\n';
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

// In both formats: what a request was, in the order in which one looks for it. A client's text is cut short.
std::vector<JsonText::Member> Describe(const serving::RequestRecord& record) {
  std::vector<JsonText::Member> fields = {
      {"protocol", record.protocol},
      {"model", record.model},
      {"version", record.version},
      {"status", StatusCodeName(record.status.code())},
      {"microseconds", std::chrono::duration_cast<std::chrono::microseconds>(record.elapsed).count()}};
  if (!record.id.empty()) fields.emplace_back("id", kserve::Excerpt(record.id));
  if (!record.trace_id.empty()) fields.emplace_back("trace_id", record.trace_id);
  if (!record.traceparent.empty()) fields.emplace_back("traceparent", record.traceparent);
  if (!record.status.ok()) fields.emplace_back("error", record.status.message());
  return fields;
}

}  // namespace

void SetUpLog(const CommandLine& options) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("recpile"));
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  if (options.log_format == LogFormat::kJson) spdlog::set_formatter(std::make_unique<JsonFormatter>());
}

std::function<void(const serving::RequestRecord&)> RequestLog(const CommandLine& options) {
  if (!options.log_requests) return {};
  if (options.log_format == LogFormat::kJson) {
    return [](const serving::RequestRecord& record) {
      JsonText line = {{"event", "request"}};
      for (const auto& [key, value] : Describe(record)) line.Add(key, value);
      spdlog::info("{}", line.text());
    };
  }
  return [](const serving::RequestRecord& record) {
    std::string line;
    for (const auto& [key, value] : Describe(record)) (((line += ' ') += key) += '=') += value.text();
    spdlog::info("request{}", line);
  };
}

}  // namespace recpile
