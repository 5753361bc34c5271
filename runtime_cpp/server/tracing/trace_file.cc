#include "tracing/trace_file.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "kserve/json_text.h"

namespace recpile::tracing {
namespace {

using kserve::JsonText;

constexpr int kBatches = 1, kRequests = 2;  // shown as processes
constexpr size_t kWriteFrom = 64 << 10;
// What may wait for a disk that is slow.
constexpr size_t kMostWaiting = 8 << 20;
// What ends the array behind an event's comma. Chrome takes one that is not ended, so it need not be there at all
// times.
constexpr std::string_view kEnd =
    "{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":1,\"args\":{\"sort_index\":0}}]\n";

std::string Named(int process, const char* name) {
  return JsonText({{"ph", "M"}, {"name", "process_name"}, {"pid", process}, {"args", {{"name", name}}}}).text() + ",\n";
}

void End(std::string* text) {
  try {
    text->append(kEnd);
  } catch (const std::bad_alloc&) {
    // Then it is not ended.
  }
}

}  // namespace

Result<std::unique_ptr<TraceFile>> TraceFile::Open(const TraceFileOptions& options) {
  const int descriptor = open(options.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) {
    return Status::InvalidArgument("--trace-out: cannot write " + options.path + ": " + std::strerror(errno));
  }
  return std::unique_ptr<TraceFile>(new TraceFile(options, descriptor));
}

TraceFile::TraceFile(const TraceFileOptions& options, int descriptor)
    : options_(options), descriptor_(descriptor), thread_([this] { Run(); }) {
  Append("[\n" + Named(kBatches, "batches, by thread") + Named(kRequests, "requests"));
}

TraceFile::~TraceFile() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  thread_.join();
  close(descriptor_);
}

std::string TraceFile::Event(const char* kind, const std::string& name, int process, uint64_t lane, TraceTime start,
                             TraceTime end, const std::string& args) const {
  // Whole nanoseconds, written as microseconds: rounding would let events overlap.
  const auto micro = [](auto duration) {
    const int64_t ns = std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count();
    return std::to_string(ns / 1000) + "." + std::to_string(1000 + ns % 1000).substr(1);
  };
  return "{\"name\":" + kserve::QuotedJson(name) + ",\"cat\":\"" + kind +
         "\",\"ph\":\"X\",\"ts\":" + micro(start - opened_) + ",\"dur\":" + micro(end - start) +
         ",\"pid\":" + std::to_string(process) + ",\"tid\":" + std::to_string(lane) + ",\"args\":" + args + "},\n";
}

void TraceFile::Batch(const ModelInfo& model, const BatchTrace& batch, TraceTime answered) {
  const auto event = [&](const char* kind, const std::string& name, TraceTime start, TraceTime end,
                         const std::string& args = "{}") {
    return Event(kind, name, kBatches, batch.thread, start, end, args);
  };
  std::string events = event("batch", "batch of " + std::to_string(batch.candidates), batch.start, answered,
                             JsonText({{"model", model.name},
                                       {"version", model.version},
                                       {"batch", batch.id},
                                       {"requests", batch.requests},
                                       {"candidates", batch.candidates}})
                                 .text());
  events += event("coalesce", "coalesce", batch.start, batch.joined);
  for (size_t i = 0; i < batch.stages.size(); ++i) {
    const StageTrace& stage = batch.stages[i];
    if (stage.end == stage.start) continue;
    events += Event("stage", model.stages[i].name, kBatches, stage.thread, stage.start, stage.end,
                    JsonText({{"kind", model.stages[i].kind}, {"batch", batch.id}}).text());
  }
  events += event("answer", "answer", batch.end, answered);
  Append(events);
}

void TraceFile::Request(const serving::RequestRecord& record) {
  const TraceTime end = record.started + record.elapsed;
  const uint64_t lane = LaneFor(record.started, end);
  JsonText args = {{"protocol", record.protocol}, {"model", record.model}, {"version", record.version}};
  if (!record.id.empty()) args.Add("id", record.id.substr(0, 200));
  if (!record.trace_id.empty()) args.Add("trace_id", record.trace_id);
  if (!record.status.ok()) args.Add("error", record.status.message());
  const serving::RunTimes ran = serving::RunTimesOf(record.trace);
  if (ran.batch != nullptr) args.Add("batch", ran.batch->id);
  std::string events = Event("request", "request", kRequests, lane, record.started, end, args.text());
  if (ran.batch != nullptr) {
    events += Event("decode", "decode", kRequests, lane, record.started, ran.submitted);
    events += Event("queue", "queue", kRequests, lane, ran.submitted, ran.start);
    events += Event("run", "run", kRequests, lane, ran.start, std::min(ran.end, end));
  }
  Append(events);
}

uint64_t TraceFile::LaneFor(TraceTime start, TraceTime end) {
  const std::lock_guard lock(mutex_);
  const auto free = std::find_if(lanes_.begin(), lanes_.end(), [&](TraceTime busy) { return busy <= start; });
  if (free == lanes_.end()) {
    lanes_.push_back(end);
    return lanes_.size();
  }
  *free = end;
  return static_cast<uint64_t>(free - lanes_.begin()) + 1;
}

void TraceFile::Append(const std::string& events) {
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || waiting_.size() + events.size() > kMostWaiting) return;
    full = taken_ + events.size() + kEnd.size() > options_.max_bytes;
    if (full) {
      ended_ = true;
    } else {
      waiting_ += events;
      taken_ += events.size();
      if (waiting_.size() < kWriteFrom) return;
    }
  }
  changed_.notify_one();
  if (full) spdlog::info("the trace in {} has its {} MiB and ends", options_.path, options_.max_bytes >> 20);
}

void TraceFile::Run() {
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    changed_.wait_for(lock, std::chrono::seconds(1),
                      [this] { return closing_ || ended_ || waiting_.size() >= kWriteFrom; });
    last = closing_ || ended_;
    std::string text = std::exchange(waiting_, {});
    lock.unlock();
    if (last) End(&text);
    const bool written = text.empty() || Write(text);
    lock.lock();
    if (written) continue;
    ended_ = last = true;
  }
  waiting_.clear();
}

bool TraceFile::Write(const std::string& text) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = write(descriptor_, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote > 0) {
      done += static_cast<size_t>(wrote);
      continue;
    }
    spdlog::warn("the trace in {} ends: {}", options_.path, std::strerror(errno));
    // No half event: what was written before, and, if it fits into what that frees, the end.
    if (ftruncate(descriptor_, static_cast<off_t>(written_)) == 0 && written_ > 0) {
      if (pwrite(descriptor_, kEnd.data(), kEnd.size(), static_cast<off_t>(written_)) < 0) return false;
    }
    return false;
  }
  written_ += text.size();
  return true;
}

}  // namespace recpile::tracing
