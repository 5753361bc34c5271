// Sends spans to an OpenTelemetry collector: OTLP over HTTP, as JSON.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "recpile/status.h"
#include "serving/span_counts.h"
#include "tracing/span.h"

namespace recpile::tracing {

// Where a collector listens.
struct Endpoint {
  std::string host;
  std::string port;  // a number
  std::string path;
};
// "http://host[:4318][/v1/traces]"; InvalidArgument says what was wrong.
Result<Endpoint> ParseEndpoint(const std::string& url);

struct OtlpOptions {
  Endpoint endpoint;
  // Requests whose spans wait for the collector; more are dropped, and counted.
  size_t max_waiting = 4096;
};

// Thread-safe. A thread of its own speaks to the collector: who calls never waits. What a collector does not take is
// tried again, later and later, until there is no room left; what it refuses is dropped.
class OtlpExporter {
 public:
  OtlpExporter(OtlpOptions options, std::string server_version);
  // Tries once more to send what waits.
  ~OtlpExporter();

  void Export(RequestSpan span);
  // Valid as long as the exporter.
  const serving::SpanCounts& counts() const { return counts_; }

 private:
  enum class Sent { kTaken, kRefused, kLater };

  void Run();
  // Waits for spans, or until `pause` is over if there is any; false: there is nothing left to do.
  bool Fill(std::vector<RequestSpan>* batch, std::chrono::milliseconds pause);
  // `body` is that of `batch`, or empty as yet.
  Sent Send(const std::vector<RequestSpan>& batch, std::string* body);
  Sent Send(const std::string& body);

  const OtlpOptions options_;
  const std::string server_version_;
  serving::SpanCounts counts_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<RequestSpan> waiting_;  // guarded by mutex_
  bool ending_ = false;              // guarded by mutex_
  bool complained_ = false;          // the thread's
  std::thread thread_;
};

}  // namespace recpile::tracing
