#pragma once

#include <cstdint>
#include <string>

namespace recpile::metrics {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8002;  // 0: any free one
};

}  // namespace recpile::metrics
