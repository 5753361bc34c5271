// TLS as the HTTP port speaks it.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "recpile/status.h"
#include "serving/tls.h"

namespace recpile::http {

// TLS 1.2 and later. kInvalidArgument: a file cannot be read, or certificate and key do not belong together.
Result<std::unique_ptr<boost::asio::ssl::context>> MakeTlsContext(const serving::TlsFiles& files);

}  // namespace recpile::http
