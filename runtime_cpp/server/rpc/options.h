// Apart from the server, so that the command line can be read where there is no gRPC.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "serving/tls.h"

namespace recpile::rpc {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8001;  // 0: any free one
  // One is plenty: the threads only move and decode bytes, and the cores belong to the stages.
  int threads = 1;
  uint64_t max_request_bytes = 64 << 20;
  // For a connection: until it is set up, and for an answer to a ping when nothing else was heard.
  std::chrono::milliseconds timeout{30'000};
  // A shutdown serves on for so long if there was a call lately, and refuses calls for as long again, before it closes
  // connections: a call that crosses with the closing would end as CANCELLED, which clients do not retry.
  std::chrono::milliseconds last_call{200};
  std::optional<serving::TlsFiles> tls;
};

}  // namespace recpile::rpc
