// What ran when, and on which thread, in a file that chrome://tracing and ui.perfetto.dev open.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "recpile/engine.h"
#include "serving/context.h"

namespace recpile::tracing {

struct TraceFileOptions {
  std::string path;
  uint64_t max_bytes = 64 << 20;
};

// A JSON array of complete events ("ph": "X"), times in microseconds since it was opened. Batches, and within them the
// stages, lie on the threads that ran them; requests, which overlap, on as many lanes as were under way at once.
// Thread-safe. Written by a thread of its own: who calls never waits for the disk. A file that is as large as it may
// be, or a disk that is full, ends the recording, and nothing else.
class TraceFile {
 public:
  // InvalidArgument: the file cannot be written.
  static Result<std::unique_ptr<TraceFile>> Open(const TraceFileOptions& options);
  // Writes what is left, and the array's end.
  ~TraceFile();

  void Batch(const ModelInfo& model, const BatchTrace& batch, TraceTime answered);
  void Request(const serving::RequestRecord& record);

 private:
  TraceFile(const TraceFileOptions& options, int descriptor);

  // Appends whole events, each ending in ",\n"; or drops them, when there is no room.
  void Append(const std::string& events);
  // `lane`: the thread, or a lane of requests.
  std::string Event(const char* kind, const std::string& name, int process, uint64_t lane, TraceTime start,
                    TraceTime end, const std::string& args = "{}") const;
  uint64_t LaneFor(TraceTime start, TraceTime end);
  void Run();
  // False: the disk is full, or the like.
  bool Write(const std::string& text);

  const TraceFileOptions options_;
  const int descriptor_;
  const TraceTime opened_ = std::chrono::steady_clock::now();
  std::mutex mutex_;
  std::condition_variable changed_;
  // All guarded by mutex_.
  std::string waiting_;
  uint64_t taken_ = 0;  // bytes, written or waiting
  bool ended_ = false;  // nothing more is recorded
  bool closing_ = false;
  std::vector<TraceTime> lanes_;  // when each one's last request ended
  uint64_t written_ = 0;          // the thread's
  std::thread thread_;
};

}  // namespace recpile::tracing
