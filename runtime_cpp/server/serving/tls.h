// Certificates for the ports.
#pragma once

#include <filesystem>
#include <string>

#include "recpile/status.h"

namespace recpile::serving {

struct TlsFiles {
  std::filesystem::path certificate;  // PEM: the server's, and what chains it to its authority
  std::filesystem::path key;          // PEM
  // PEM: authorities whose clients are let in. Empty: clients need no certificate.
  std::filesystem::path client_ca;
};

// The same, read.
struct TlsText {
  std::string certificate;
  std::string key;
  std::string client_ca;
};

// kInvalidArgument: a file cannot be read, or holds no PEM.
Result<TlsText> ReadTls(const TlsFiles& files);

}  // namespace recpile::serving
