#include "kserve/json_text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace recpile::kserve {
namespace {

TEST(JsonText, HoldsTextsNumbersAndTruthValues) {
  EXPECT_EQ(JsonText("a").text(), R"("a")");
  EXPECT_EQ(JsonText(std::string_view("abc").substr(1)).text(), R"("bc")");
  EXPECT_EQ(JsonText(-7).text(), "-7");
  EXPECT_EQ(JsonText(std::numeric_limits<uint64_t>::max()).text(), "18446744073709551615");
  EXPECT_EQ(JsonText(true).text(), "true");
}

TEST(JsonText, EscapesWhatAClientSent) {
  EXPECT_EQ(JsonText("a\"b\\c\n\x01").text(), R"("a\"b\\c\n\u0001")");
  EXPECT_EQ(JsonText("not UTF-8: \xff!").text(), "\"not UTF-8: \xEF\xBF\xBD!\"");
  EXPECT_EQ(JsonText({{"a\"b", 1}}).text(), R"({"a\"b":1})");
}

TEST(JsonText, ListsWhatIsInARange) {
  EXPECT_EQ(JsonText(std::vector<int64_t>{-1, 4}).text(), "[-1,4]");
  EXPECT_EQ(JsonText(std::vector<std::string>{"a", "b"}).text(), R"(["a","b"])");
  EXPECT_EQ(JsonText(std::vector<JsonText>{{{"a", 1}}, {{"b", 2}}}).text(), R"([{"a":1},{"b":2}])");
  EXPECT_EQ(JsonText(std::vector<int64_t>()).text(), "[]");
}

TEST(JsonText, KeepsMembersInTheirOrder) {
  const JsonText inner = {{"z", 1}, {"a", "x"}};
  JsonText outer = {{"inner", inner}, {"flat", {{"b", false}}}};
  outer.Add("last", 3);
  EXPECT_EQ(outer.text(), R"({"inner":{"z":1,"a":"x"},"flat":{"b":false},"last":3})");
}

}  // namespace
}  // namespace recpile::kserve
