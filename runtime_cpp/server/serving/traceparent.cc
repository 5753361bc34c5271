#include "serving/traceparent.h"

#include <algorithm>

namespace recpile::serving {
namespace {

constexpr size_t kLength = 55;  // 2 + 1 + 32 + 1 + 16 + 1 + 2

bool IsHex(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsId(std::string_view text) { return IsHex(text) && text.find_first_not_of('0') != text.npos; }

}  // namespace

std::string_view ValidTraceparent(std::string_view header) {
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') return {};
  const std::string_view version = header.substr(0, 2);
  // Later versions may append fields; this one, and none at all ("ff"), may not.
  if (!IsHex(version) || version == "ff" || (version == "00" && header.size() != kLength)) return {};
  if (header.size() > kLength && header[kLength] != '-') return {};
  const bool valid = IsId(header.substr(3, 32)) && IsId(header.substr(36, 16)) && IsHex(header.substr(53, 2));
  return valid ? header.substr(0, kLength) : std::string_view();
}

}  // namespace recpile::serving
