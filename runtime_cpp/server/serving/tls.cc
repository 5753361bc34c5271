#include "serving/tls.h"

#include <fstream>
#include <iterator>

namespace recpile::serving {
namespace {

Result<std::string> ReadPem(const std::filesystem::path& path, const char* option) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return Status::InvalidArgument(std::string(option) + ": cannot read " + path.string());
  if (text.find("-----BEGIN ") != text.npos) return text;
  return Status::InvalidArgument(std::string(option) + ": " + path.string() +
                                 " holds no PEM (\"-----BEGIN ...\"); convert it, for instance with openssl");
}

}  // namespace

Result<TlsText> ReadTls(const TlsFiles& files) {
  TlsText text;
  RECPILE_ASSIGN_OR_RETURN(text.certificate, ReadPem(files.certificate, "--tls-certificate"));
  RECPILE_ASSIGN_OR_RETURN(text.key, ReadPem(files.key, "--tls-key"));
  if (!files.client_ca.empty()) {
    RECPILE_ASSIGN_OR_RETURN(text.client_ca, ReadPem(files.client_ca, "--tls-client-ca"));
  }
  return text;
}

}  // namespace recpile::serving
