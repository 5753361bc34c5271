#include "tracing/tracing.h"

#include <new>
#include <utility>

namespace recpile::tracing {
namespace {

// What finds no memory to be noted down is lost; who is noted down must not notice.
void Note(auto action) {
  try {
    action();
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace

Result<std::unique_ptr<Tracing>> Tracing::Begin(const std::optional<TraceFileOptions>& file,
                                                const std::optional<OtlpOptions>& otlp, double sample_ratio) {
  std::unique_ptr<Tracing> tracing(new Tracing(sample_ratio));
  if (file) {
    RECPILE_ASSIGN_OR_RETURN(tracing->file_, TraceFile::Open(*file));
  }
  if (otlp) tracing->otlp_ = std::make_unique<OtlpExporter>(*otlp, RECPILE_VERSION);
  return tracing;
}

BatchObserver Tracing::OnBatch() {
  if (file_ == nullptr) return {};
  return [this](const ModelInfo& model, const BatchTrace& batch, TraceTime answered) {
    Note([&] { file_->Batch(model, batch, answered); });
  };
}

Tracing::Listener Tracing::OnRequest(Listener then) {
  if (!on() && !then) return {};
  return [this, then = std::move(then)](const serving::RequestRecord& record) {
    Note([&] {
      serving::RequestRecord known = record;
      TraceContext context;
      if (!record.traceparent.empty() || otlp_ != nullptr) context = ContextOf(record.traceparent, sample_ratio_);
      // One that begins here and that nobody is told of leads nowhere.
      if (!record.traceparent.empty() || context.sampled) known.trace_id = context.trace_id;
      if (then) then(known);
      if (file_ != nullptr) file_->Request(known);
      if (otlp_ != nullptr && context.sampled) otlp_->Export(SpanOf(known, std::move(context)));
    });
  };
}

}  // namespace recpile::tracing
