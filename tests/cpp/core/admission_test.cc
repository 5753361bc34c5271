// Whether a request is accepted for its deadline: a second a run, and a second a candidate.
#include "engine/admission.h"

#include <gtest/gtest.h>

namespace recpile {
namespace {

constexpr RunCost kCost = {1e9, 1e9};

// From now on.
Urgency In(int64_t seconds) {
  const std::chrono::seconds timeout(seconds);
  return {.since = Clock::time_point(), .deadline = Clock::time_point() + timeout, .timeout = timeout};
}

Workload Waiting(int64_t rows, double wait_factor = 1) {
  return {.waiting = rows, .max_batch_size = 8, .cost = kCost, .wait_factor = wait_factor};
}

bool InTime(int64_t rows, int64_t seconds, const Workload& found) {
  return CheckInTime(rows, 1, In(seconds), found).ok();
}

TEST(Admission, WhereNothingWaitsARequestTakesItsRunAndAQuarterInReserve) {
  EXPECT_TRUE(InTime(3, 5, Waiting(0)));
  EXPECT_FALSE(InTime(3, 4, Waiting(0)));
}

TEST(Admission, CompanyInTheSameBatchIsPartOfTheRun) {
  // 3 + 4 candidates and the run: 8 s, with the reserve 10.
  EXPECT_TRUE(InTime(3, 10, Waiting(4)));
  EXPECT_FALSE(InTime(3, 9, Waiting(4)));
}

TEST(Admission, BehindMoreThanABatchItMayBeTheFirstOfAFullOne) {
  // 8 wait, 9 s; then a full batch, 9 s. With the reserve 22.5.
  EXPECT_TRUE(InTime(1, 23, Waiting(8)));
  EXPECT_FALSE(InTime(1, 22, Waiting(8)));
}

TEST(Admission, WhatRunsNowIsWaitedFor) {
  Workload found = Waiting(0);
  found.running = 4;
  // 5 s until it is over, then 2.
  EXPECT_TRUE(InTime(1, 9, found));
  EXPECT_FALSE(InTime(1, 8, found));
}

TEST(Admission, WaitsThatWereLongerThanForeseenAreExpectedToBeSoAgain) {
  // Twice 9 s, then 9: with the reserve 33.75.
  EXPECT_TRUE(InTime(1, 34, Waiting(8, 2)));
  EXPECT_FALSE(InTime(1, 33, Waiting(8, 2)));
}

TEST(Admission, SeveralInstancesShareWhatWaits) {
  Workload found = Waiting(8);
  found.instances = 2;
  // 4.5 s, then 9.
  EXPECT_TRUE(InTime(1, 17, found));
  EXPECT_FALSE(InTime(1, 16, found));
}

TEST(Admission, RequestWithoutADeadlineIsAlwaysInTime) {
  EXPECT_TRUE(CheckInTime(100, 1, {}, Waiting(10'000)).ok());
  EXPECT_EQ(RowsInTime(100, {}, Waiting(10'000)), 100);
}

TEST(Admission, RefusalSaysHowLongItMayTake) {
  const Status status = CheckInTime(3, 1, In(4), Waiting(0));
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("may take 5000000 us, longer than its timeout of 4000000 us"), std::string::npos)
      << status.message();
}

TEST(Admission, RowsInTimeAreAcceptedAndOneMoreBatchOfThemIsNot) {
  for (const int64_t waiting : {0, 3, 7, 8, 20}) {
    for (const int64_t rows : {1, 5, 8, 30}) {
      for (const int64_t seconds : {1, 4, 9, 16, 40, 100}) {
        const int64_t fits = RowsInTime(rows, In(seconds), Waiting(waiting));
        ASSERT_GE(fits, 0);
        ASSERT_LE(fits, rows);
        const size_t pieces = static_cast<size_t>((fits + 7) / 8);
        if (fits > 0) {
          EXPECT_TRUE(CheckInTime(fits, pieces, In(seconds), Waiting(waiting)).ok())
              << fits << " of " << rows << " behind " << waiting << " in " << seconds << " s";
        }
        // RowsInTime keeps a little more in reserve: a quarter of all there is.
        if (fits + 8 <= rows) EXPECT_FALSE(InTime(fits + 8, seconds * 15 / 16, Waiting(waiting)));
      }
    }
  }
}

}  // namespace
}  // namespace recpile
