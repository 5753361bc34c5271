// JSON that is put together as text. Not as a tree of nlohmann's: the destructor of one asks for memory, and where
// there is none the process ends. Here what finds no memory throws std::bad_alloc, and nothing else happens.
#pragma once

#include <concepts>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>

namespace recpile::kserve {

// With its quotes. What is not UTF-8, as a client's text need not be, becomes U+FFFD.
inline std::string QuotedJson(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// One value: a text, a number, true or false, a list of such, or the object of members in their order.
class JsonText {
 public:
  using Member = std::pair<std::string_view, JsonText>;

  JsonText(std::string_view text) : text_(QuotedJson(text)) {}
  JsonText(const std::string& text) : JsonText(std::string_view(text)) {}
  JsonText(const char* text) : JsonText(std::string_view(text)) {}
  JsonText(std::same_as<bool> auto value) : text_(value ? "true" : "false") {}
  template <std::integral Number>
    requires(!std::same_as<Number, bool>)
  JsonText(Number number) : text_(std::to_string(number)) {}
  template <std::ranges::range Values>
    requires(!std::convertible_to<Values, std::string_view>)
  JsonText(const Values& values) : text_("[") {
    for (const auto& value : values) Append(JsonText(value).text());
    text_ += ']';
  }
  JsonText(std::initializer_list<Member> members) : text_("{") {
    for (const auto& [key, value] : members) AppendMember(key, value);
    text_ += '}';
  }

  // To an object.
  void Add(std::string_view key, const JsonText& value) {
    text_.pop_back();
    AppendMember(key, value);
    text_ += '}';
  }

  const std::string& text() const { return text_; }

 private:
  void Append(std::string_view value) {
    if (text_.size() > 1) text_ += ',';
    text_ += value;
  }
  void AppendMember(std::string_view key, const JsonText& value) { Append(QuotedJson(key) + ":" + value.text_); }

  std::string text_;
};

}  // namespace recpile::kserve
