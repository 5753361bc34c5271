#include "engine/choose_instances.h"

#include <gtest/gtest.h>

#include <map>

namespace recpile {
namespace {

// The numbers of instances that were tried, the chosen one last.
std::vector<int> Tried(int most, const std::map<int, double>& speeds) {
  std::vector<int> tried;
  for (const InstanceTrial& trial : ChooseInstances(most, [&](int instances) { return speeds.at(instances); })) {
    tried.push_back(trial.instances);
  }
  return tried;
}

TEST(ChooseInstances, OneACoreWhereEachAddsToTheOthers) {
  EXPECT_EQ(Tried(8, {{8, 800}, {4, 400}}), (std::vector<int>{4, 8}));
}

TEST(ChooseInstances, FewerWhereMoreAddNothing) {
  // Two threads a core, which share its arithmetic.
  EXPECT_EQ(Tried(8, {{8, 410}, {4, 400}, {2, 200}}), (std::vector<int>{8, 2, 4}));
  EXPECT_EQ(Tried(3, {{3, 100}, {2, 101}, {1, 102}}), (std::vector<int>{3, 2, 1}));
}

TEST(ChooseInstances, ATrialThatFailedDecidesNothing) {
  EXPECT_EQ(Tried(2, {{2, 100}, {1, 0}}), (std::vector<int>{1, 2}));
}

TEST(ChooseInstances, OneCoreNeedsNoTrial) { EXPECT_EQ(Tried(1, {}), std::vector<int>{1}); }

}  // namespace
}  // namespace recpile
