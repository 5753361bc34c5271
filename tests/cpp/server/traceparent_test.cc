#include "serving/traceparent.h"

#include <gtest/gtest.h>

namespace recpile::serving {
namespace {

constexpr char kValid[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

TEST(Traceparent, IsTakenAsItIs) { EXPECT_EQ(ValidTraceparent(kValid), kValid); }

TEST(Traceparent, FieldsOfALaterVersionAreCutOff) {
  const std::string later = "cc" + std::string(kValid).substr(2);
  EXPECT_EQ(ValidTraceparent(later + "-what-comes"), later);
  EXPECT_EQ(ValidTraceparent(later + "x"), "");
}

TEST(Traceparent, WhatIsNoneIsNothing) {
  for (const char* header : {
           "",
           "nonsense",
           "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
           "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
           "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
       }) {
    EXPECT_EQ(ValidTraceparent(header), "") << header;
  }
}

}  // namespace
}  // namespace recpile::serving
