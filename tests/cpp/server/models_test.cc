#include "serving/models.h"

#include <gtest/gtest.h>

#include "support.h"

namespace recpile::serving {
namespace {

ModelPtr Version(const std::string& version, const std::string& name = "toy") {
  ServedModel model{.info = recpile::testing::ToyModel()};
  model.info.name = name;
  model.info.version = version;
  return std::make_shared<const ServedModel>(std::move(model));
}

std::string Found(const Models& models, const std::string& name, const std::string& version = "") {
  const auto model = models.Find(name, version);
  return model.ok() ? model.value()->info.version : model.status().message();
}

TEST(Models, WithoutAVersionTheNewestAnswers) {
  Models models;
  models.Publish("toy", {Version("10"), Version("9"), Version("2")});
  EXPECT_EQ(Found(models, "toy"), "10");
  EXPECT_EQ(Found(models, "toy", "2"), "2");
}

TEST(Models, WhatIsNotThereIsToldApart) {
  Models models;
  EXPECT_EQ(Found(models, "toy"), "model 'toy' is not served here; this server has none");
  models.Publish("toy", {Version("1"), Version("2")});
  models.Publish("other", {Version("7", "other")});
  EXPECT_EQ(Found(models, "x"), "model 'x' is not served here; this server has 'other', 'toy'");
  EXPECT_EQ(Found(models, "toy", "3"), "model 'toy' has no version '3'; this server has version '1', '2'");
  EXPECT_EQ(models.Find("toy", "3").status().code(), StatusCode::kNotFound);
}

TEST(Models, PublishReplacesAllVersionsAtOnce) {
  Models models;
  models.Publish("toy", {Version("1"), Version("2")});
  models.Publish("toy", {Version("3")});
  ASSERT_EQ(models.List("toy").size(), 1u);
  models.Publish("toy", {});
  EXPECT_TRUE(models.List().empty());
}

TEST(Models, ALeaseOutlivesTheModelsEnd) {
  Models models;
  models.Publish("toy", {Version("1")});
  const ModelPtr lease = models.Find("toy", "").value();
  models.Publish("toy", {});
  EXPECT_EQ(lease.use_count(), 1);
  EXPECT_EQ(lease->info.version, "1");
}

// A version that says when it is told to hold nothing back.
ModelPtr Telling(const std::string& version, std::vector<std::string>* told) {
  ServedModel model = *Version(version);
  model.hold_nothing_back = [version, told] { told->push_back(version); };
  return std::make_shared<const ServedModel>(std::move(model));
}

TEST(Models, RequestsOfAVersionThatDisappearsWaitForCompanyNoLonger) {
  std::vector<std::string> told;
  Models models;
  const ModelPtr stays = Telling("2", &told);
  models.Publish("toy", {Telling("1", &told), stays});
  models.Publish("toy", {stays, Telling("3", &told)});
  EXPECT_EQ(told, std::vector<std::string>{"1"});
  models.Publish("toy", {});
  EXPECT_EQ(told, (std::vector<std::string>{"1", "2", "3"}));
}

TEST(Models, WhenTheServerStopsNoRequestOfAnyVersionWaitsForCompany) {
  std::vector<std::string> told;
  Models models;
  models.Publish("toy", {Telling("1", &told)});
  models.HoldNothingBack();
  EXPECT_EQ(told, std::vector<std::string>{"1"});
  models.Publish("other", {Telling("7", &told)});  // was being loaded
  EXPECT_EQ(told, (std::vector<std::string>{"1", "7"}));
}

TEST(Models, VersionsAreOrderedByNumberAndNamesComeFirst) {
  const OlderVersion older;
  EXPECT_TRUE(older("2", "10"));
  EXPECT_TRUE(older("99999999999999999999", "100000000000000000000"));
  EXPECT_TRUE(older("beta", "1"));
  EXPECT_TRUE(older("alpha", "beta"));
  EXPECT_FALSE(older("1", "1"));
}

}  // namespace
}  // namespace recpile::serving
