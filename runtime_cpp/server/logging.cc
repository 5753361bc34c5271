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

#include "kserve/request_json.h"
#include "nlohmann/json.hpp"

namespace recpile {
namespace {

using Json = nlohmann::ordered_json;

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

// Text of clients need not be UTF-8.
std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// {"time": ..., "level": ..., "message": ...}; what is JSON already follows the time and level.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string_view payload(message.payload.data(), message.payload.size());
    const std::string_view level(spdlog::level::to_string_view(message.level).data());
    Json json = {{"time", Timestamp(message.time)}, {"level", level}};
    std::string line;
    if (payload.starts_with('{')) {
      line = Dump(json);
      line.back() = ',';
      line += payload.substr(1);
    } else {
      json["message"] = payload;
      line = Dump(json);
    }
    line += '\n';
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

// In both formats: what a request was, in the order in which one looks for it. A client's text is cut short.
Json Describe(const serving::RequestRecord& record) {
  Json json = {{"event", "request"},
               {"protocol", record.protocol},
               {"model", record.model},
               {"version", record.version},
               {"status", StatusCodeName(record.status.code())},
               {"microseconds", std::chrono::duration_cast<std::chrono::microseconds>(record.elapsed).count()}};
  if (!record.id.empty()) json["id"] = kserve::Excerpt(record.id);
  if (!record.trace_id.empty()) json["trace_id"] = record.trace_id;
  if (!record.traceparent.empty()) json["traceparent"] = record.traceparent;
  if (!record.status.ok()) json["error"] = record.status.message();
  return json;
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
    return [](const serving::RequestRecord& record) { spdlog::info("{}", Dump(Describe(record))); };
  }
  return [](const serving::RequestRecord& record) {
    const Json fields = Describe(record);
    std::string line;
    for (const auto& [key, value] : fields.items()) {
      if (key == "event") continue;
      line += " " + key + "=" + Dump(value);
    }
    spdlog::info("request{}", line);
  };
}

}  // namespace recpile
