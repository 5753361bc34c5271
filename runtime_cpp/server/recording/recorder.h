// Records a share of the live requests with their answers, beside serving and never in its way.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "recording/file.h"
#include "recording/options.h"
#include "recording/record.h"
#include "serving/served_model.h"
#include "serving/worker.h"

namespace recpile::recording {

struct RecorderStats {
  uint64_t recorded = 0;
  uint64_t dropped = 0;  // chosen, but the disk was behind, or memory short
  uint64_t bytes = 0;    // of the file
  bool stopped = false;  // full, or the disk failed
};

// Thread-safe. Must outlive every engine of the models that it watches.
//
// A protocol's thread copies the inputs of a request that is chosen; the engine's thread that answers it hands views of
// the answer to a thread of the recorder's, which encodes and writes. What waits for that thread is bounded; what is
// beyond is dropped and counted.
class Recorder {
 public:
  // kInvalidArgument: an option, or the file.
  static Result<std::unique_ptr<Recorder>> Open(const RecordingOptions& options);

  // Writes what waits.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // The same model, whose requests are recorded, those that it refuses included.
  serving::ModelPtr Watch(const serving::ModelPtr& model);

  // Waits until what was answered so far is written. For tests.
  void Flush();

  RecorderStats stats() const;

 private:
  Recorder(const RecordingOptions& options, RecordingFile file);

  bool Chosen();
  // Null: not chosen, or no room for it.
  std::shared_ptr<Pending> TryBegin(const ModelInfo& model, const InferRequest& request);
  // Must not throw: it runs on threads of the engine's.
  void Answered(const std::shared_ptr<Pending>& pending, const InferResult& answer) noexcept;
  void Write(const std::string& record);
  // Room for so many bytes until they are written or dropped; false: there is none, and the request was dropped.
  bool Reserve(uint64_t bytes);
  void Drop(uint64_t bytes);

  const double share_;
  const std::string name_;
  std::atomic<uint64_t> seen_ = 0;
  std::atomic<uint64_t> recorded_ = 0;
  std::atomic<uint64_t> dropped_ = 0;
  std::atomic<uint64_t> waiting_bytes_ = 0;
  std::atomic<uint64_t> bytes_ = 0;
  std::atomic<bool> stopped_ = false;
  RecordingFile file_;      // the worker's, once it runs
  serving::Worker worker_;  // last: it is gone before what it uses
};

}  // namespace recpile::recording
