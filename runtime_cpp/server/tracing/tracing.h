// What the server notes down of requests and batches, and where it goes.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "tracing/otlp_exporter.h"
#include "tracing/trace_file.h"

namespace recpile::tracing {

// Thread-safe. Must outlive whoever calls what it hands out.
class Tracing {
 public:
  using Listener = std::function<void(const serving::RequestRecord&)>;

  // Neither, either or both. InvalidArgument: the file cannot be written. `sample_ratio`: see ContextOf.
  static Result<std::unique_ptr<Tracing>> Begin(const std::optional<TraceFileOptions>& file,
                                                const std::optional<OtlpOptions>& otlp, double sample_ratio);

  bool on() const { return file_ != nullptr || otlp_ != nullptr; }
  // For EngineOptions::on_batch; empty if nobody wants to know.
  BatchObserver OnBatch();
  // For serving::Context::log: `then`, which may be empty, hears of each request with its trace id. Empty if nobody
  // does.
  Listener OnRequest(Listener then);
  // Null: no spans are exported.
  const serving::SpanCounts* span_counts() const { return otlp_ == nullptr ? nullptr : &otlp_->counts(); }

 private:
  explicit Tracing(double sample_ratio) : sample_ratio_(sample_ratio) {}

  const double sample_ratio_;
  std::unique_ptr<TraceFile> file_;
  std::unique_ptr<OtlpExporter> otlp_;
};

}  // namespace recpile::tracing
