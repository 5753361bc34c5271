// Options as the flags give them, before they are put where they belong.
#pragma once

#include <cstdint>
#include <string>

#include "options.h"

namespace recpile {

#ifdef RECPILE_GRPC
inline constexpr bool kHasGrpc = true;
#else
inline constexpr bool kHasGrpc = false;
#endif

struct RawOptions {
  std::string folder;
  std::string control = "none";
  std::string versions = "latest";
  bool no_verify_checksums = false;
  std::string timeout_action = "reject";
  std::string pad_batches = "auto";
  std::string out_of_range = "error";
  std::string table_memory = "auto";
  std::string host = "127.0.0.1";
  std::string http_port = "8000";
  std::string grpc_port = kHasGrpc ? "8001" : "off";
  std::string metrics_port = "8002";
  uint64_t max_request_bytes = http::ServerOptions().max_request_bytes;
  int64_t timeout_seconds = 30;
  serving::TlsFiles tls;
  recording::RecordingOptions recording;
  int64_t grace_seconds = 30;
  std::string log_format = "text";
  std::string trace_out;
  int64_t trace_out_megabytes = 64;
  std::string otlp_endpoint;
};

// What can only be said of options together. Returns what is wrong, or nothing.
std::string Mistake(const CommandLine& options, const RawOptions& raw);

void Finish(const RawOptions& raw, CommandLine* options);

}  // namespace recpile
