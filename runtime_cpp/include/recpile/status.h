// Status and Result: how every boundary of the runtime reports failure. No exception crosses a public header.
#pragma once

#include <cassert>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace recpile {

enum class StatusCode {
  kOk,
  kInvalidArgument,  // the caller sent something wrong; retrying the same bytes cannot help
  kNotFound,         // a file, model or version that is not there
  kUnavailable,      // stopped, or out of room: the same request may succeed elsewhere or later
  kUnsupported,      // understood, and refused: another version, another CPU
  kCanceled,         // whoever sent it has gone
  kInternal,         // a stage failed, or a bug
};

// "OK", "INVALID_ARGUMENT": in logs and recordings.
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  static Status InvalidArgument(std::string m) { return {StatusCode::kInvalidArgument, std::move(m)}; }
  static Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
  static Status Unavailable(std::string m) { return {StatusCode::kUnavailable, std::move(m)}; }
  static Status Unsupported(std::string m) { return {StatusCode::kUnsupported, std::move(m)}; }
  static Status Canceled(std::string m) { return {StatusCode::kCanceled, std::move(m)}; }
  static Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

// A value, or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Status status) : state_(std::move(status)) { assert(!this->status().ok()); }

  bool ok() const { return std::holds_alternative<T>(state_); }
  // OK when there is a value.
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }

 private:
  std::variant<Status, T> state_;
};

// Passes a failed Status on to the caller.
#define RECPILE_RETURN_IF_ERROR(expr)                       \
  do {                                                      \
    if (::recpile::Status s_ = (expr); !s_.ok()) return s_; \
  } while (false)

// Declares `lhs` from a Result, or passes its failure on to the caller.
#define RECPILE_ASSIGN_OR_RETURN(lhs, expr) RECPILE_ASSIGN_IMPL_(RECPILE_CONCAT_(result_, __LINE__), lhs, expr)
#define RECPILE_ASSIGN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                         \
  if (!tmp.ok()) return tmp.status();        \
  lhs = std::move(tmp).value()
#define RECPILE_CONCAT_(a, b) RECPILE_CONCAT_2_(a, b)
#define RECPILE_CONCAT_2_(a, b) a##b

}  // namespace recpile
