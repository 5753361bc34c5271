#include "recording/recorder.h"

#include <spdlog/spdlog.h>

#include <cmath>
#include <future>
#include <new>
#include <utility>

namespace recpile::recording {
namespace {

constexpr uint64_t kMostWaiting = uint64_t{32} << 20;

// SplitMix64 (Steele, Lea, Flood 2014): a counter becomes evenly spread numbers, so that what is chosen neither follows
// a rhythm of the traffic nor needs a lock.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t Bytes(const InferResult& answer) {
  uint64_t bytes = 0;
  if (answer.ok()) {
    for (const Tensor& output : answer.value()) bytes += output.data.size();
  }
  return bytes;
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::Open(const RecordingOptions& options) {
  if (!(options.share > 0 && options.share <= 1)) {
    return Status::InvalidArgument("--record-share: got " + std::to_string(options.share) +
                                   "; use a number above 0 and up to 1");
  }
  if (options.max_bytes <= kFileHeader.size()) {
    return Status::InvalidArgument("--record-max-bytes: got " + std::to_string(options.max_bytes) + "; give more");
  }
  RECPILE_ASSIGN_OR_RETURN(RecordingFile file, RecordingFile::Open(options.file, options.max_bytes));
  return std::unique_ptr<Recorder>(new Recorder(options, std::move(file)));
}

Recorder::Recorder(const RecordingOptions& options, RecordingFile file)
    : share_(options.share), name_(options.file.string()), bytes_(file.bytes()), file_(std::move(file)) {
  spdlog::info("recording {} of the requests to {}", share_, name_);
}

Recorder::~Recorder() {
  Flush();
  const RecorderStats end = stats();
  spdlog::info("recorded {} requests in {} ({} bytes), {} dropped", end.recorded, name_, end.bytes, end.dropped);
}

serving::ModelPtr Recorder::Watch(const serving::ModelPtr& model) {
  auto watched = std::make_shared<serving::ServedModel>(*model);
  watched->submit = [this, model](InferRequest request, InferCallback done) -> Status {
    const std::shared_ptr<Pending> pending = TryBegin(model->info, request);
    if (pending == nullptr) return model->submit(std::move(request), std::move(done));
    const Status submitted =
        model->submit(std::move(request), [this, pending, done = std::move(done)](InferResult answer) {
          Answered(pending, answer);
          done(std::move(answer));
        });
    if (!submitted.ok()) Answered(pending, submitted);
    return submitted;
  };
  return watched;
}

void Recorder::Flush() {
  std::promise<void> written;
  worker_.Post([&written] { written.set_value(); });
  written.get_future().wait();
}

RecorderStats Recorder::stats() const {
  return {.recorded = recorded_, .dropped = dropped_, .bytes = bytes_, .stopped = stopped_};
}

bool Recorder::Chosen() {
  if (stopped_) return false;
  return std::ldexp(static_cast<double>(Mix(seen_++)), -64) < share_;
}

std::shared_ptr<Pending> Recorder::TryBegin(const ModelInfo& model, const InferRequest& request) {
  if (!Chosen()) return nullptr;
  uint64_t bytes = 0;
  for (const Tensor& input : request.inputs) bytes += input.data.size();
  if (!Reserve(bytes)) return nullptr;
  try {
    return std::make_shared<Pending>(Begin(model, request));
  } catch (const std::bad_alloc&) {
    Drop(bytes);
    return nullptr;
  }
}

void Recorder::Answered(const std::shared_ptr<Pending>& pending, const InferResult& answer) noexcept {
  const auto elapsed = std::chrono::steady_clock::now() - pending->started;
  if (!Reserve(Bytes(answer))) {
    waiting_bytes_ -= pending->input_bytes.size();
    return;
  }
  const uint64_t bytes = pending->input_bytes.size() + Bytes(answer);
  try {
    worker_.Post([this, pending, answer, elapsed, bytes] {
      try {
        Write(EncodeRecord(*pending, answer, elapsed));
        waiting_bytes_ -= bytes;
      } catch (const std::exception&) {
        Drop(bytes);
      }
    });
  } catch (const std::exception&) {
    Drop(bytes);
  }
}

bool Recorder::Reserve(uint64_t bytes) {
  if (waiting_bytes_.fetch_add(bytes) + bytes <= kMostWaiting) return true;
  Drop(bytes);
  return false;
}

void Recorder::Drop(uint64_t bytes) {
  waiting_bytes_ -= bytes;
  ++dropped_;
}

void Recorder::Write(const std::string& record) {
  if (stopped_) return;
  if (record.empty()) {
    ++dropped_;
    return;
  }
  if (const Status written = file_.Append(record); !written.ok()) {
    stopped_ = true;
    spdlog::warn("recording to {} ends: {}", name_, written.message());
    return;
  }
  bytes_ = file_.bytes();
  ++recorded_;
}

}  // namespace recpile::recording
