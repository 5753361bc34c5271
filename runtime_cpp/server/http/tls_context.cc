#include "http/tls_context.h"

#include <boost/asio/buffer.hpp>
#include <boost/system/system_error.hpp>
#include <string>

namespace recpile::http {

namespace ssl = boost::asio::ssl;

Result<std::unique_ptr<ssl::context>> MakeTlsContext(const serving::TlsFiles& files) {
  RECPILE_ASSIGN_OR_RETURN(const serving::TlsText text, serving::ReadTls(files));
  try {
    auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
    context->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
    context->use_certificate_chain(boost::asio::buffer(text.certificate));
    context->use_private_key(boost::asio::buffer(text.key), ssl::context::pem);
    if (!text.client_ca.empty()) {
      context->add_certificate_authority(boost::asio::buffer(text.client_ca));
      context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    }
    return context;
  } catch (const boost::system::system_error& error) {
    return Status::InvalidArgument("--tls-certificate " + files.certificate.string() + " and --tls-key " +
                                   files.key.string() + " cannot be used: " + error.code().message());
  }
}

}  // namespace recpile::http
