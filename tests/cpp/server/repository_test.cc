// The repository over real folders, with a stand-in for the engine.
#include "serving/repository.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <set>

#include "support.h"
#include "temporary_folder.h"

namespace recpile::serving {
namespace {

namespace fs = std::filesystem;

class RepositoryTest : public ::testing::Test {
 protected:
  void Place(const std::string& path, const std::string& content = "artifact") {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / (path + ".new")) << content;
    fs::rename(folder_ / (path + ".new"), folder_ / path);
  }

  std::unique_ptr<Repository> Open(VersionPolicy versions = VersionPolicy::kLatest, bool control = true) {
    return std::make_unique<Repository>(RepositoryOptions{.folder = folder_, .versions = versions, .control = control},
                                        &models_,
                                        [this](const std::string& name, const ArtifactFile& file) -> Result<ModelPtr> {
                                          loaded_.push_back(name + ":" + file.version);
                                          if (during_load_) during_load_();
                                          std::string content;
                                          std::ifstream(file.path) >> content;
                                          if (content == "broken") return Status::InvalidArgument("no artifact");
                                          ServedModel model{.info = recpile::testing::ToyModel()};
                                          model.info.name = name;
                                          model.info.version = file.version;
                                          return std::make_shared<const ServedModel>(std::move(model));
                                        });
  }

  std::vector<std::string> Served() const {
    std::vector<std::string> names;
    for (const ModelPtr& model : models_.List()) names.push_back(model->info.name + ":" + model->info.version);
    return names;
  }
  using Names = std::vector<std::string>;

  const recpile::testing::TemporaryFolder temporary_;
  const fs::path& folder_ = temporary_.path();
  Models models_;
  Names loaded_;
  std::function<void()> during_load_;
};

TEST_F(RepositoryTest, FindsVersionsInBothLayoutsAndIgnoresTheRest) {
  for (const char* path : {"a/1.pt2", "a/12/model.pt2", "a/003.pt2", "a/x.pt2", "a/0.pt2", "a/4/other.pt2", "a/note",
                           "a/.5.pt2", "loose.pt2", ".b/1.pt2"}) {
    Place(path);
  }
  EXPECT_EQ(ListModels(folder_).value(), Names{"a"});
  Names versions;
  const std::vector<ArtifactFile> files = ListVersions(folder_, "a").value();
  for (const ArtifactFile& file : files) versions.push_back(file.version);
  EXPECT_EQ(versions, (Names{"1", "12"}));
}

TEST_F(RepositoryTest, ANameIsNeverAPath) {
  Place("a/1.pt2");
  for (const char* name : {"..", ".", "", "a/", "a/../a", "/", "./a"}) {
    EXPECT_EQ(ListVersions(folder_, name).status().code(), StatusCode::kNotFound) << name;
  }
}

TEST_F(RepositoryTest, LoadsTheNewestOrAll) {
  for (const char* path : {"a/1.pt2", "a/2.pt2", "b/1.pt2"}) Place(path);
  EXPECT_TRUE(Open()->LoadAll().ok());
  EXPECT_EQ(Served(), (Names{"a:2", "b:1"}));
  EXPECT_TRUE(Open(VersionPolicy::kAll)->LoadAll().ok());
  EXPECT_EQ(Served(), (Names{"a:1", "a:2", "b:1"}));
}

TEST_F(RepositoryTest, TheOldVersionServesUntilTheNewOneIsReady) {
  Place("a/1.pt2");
  const auto repository = Open();
  ASSERT_TRUE(repository->Load("a").ok());
  Place("a/2.pt2");
  Names during;
  during_load_ = [&] {
    during = Served();
    for (const RepositoryEntry& entry : repository->Index()) during.push_back(entry.version + " " + entry.state);
  };
  ASSERT_TRUE(repository->Load("a").ok());
  EXPECT_EQ(during, (Names{"a:1", "1 READY", "2 LOADING"}));
  EXPECT_EQ(Served(), Names{"a:2"});
}

TEST_F(RepositoryTest, IfOneVersionFailsEverythingStaysAsItWas) {
  Place("a/1.pt2");
  const auto repository = Open(VersionPolicy::kAll);
  ASSERT_TRUE(repository->Load("a").ok());
  Place("a/2.pt2");
  Place("a/3.pt2", "broken");
  const Status failed = repository->Load("a");
  EXPECT_EQ(failed.message(), "model 'a' version 3 could not be loaded: no artifact");
  EXPECT_EQ(Served(), Names{"a:1"});
  const std::vector<RepositoryEntry> index = repository->Index();
  ASSERT_EQ(index.size(), 3u);
  EXPECT_EQ(index[0].state, "READY");
  EXPECT_EQ(index[2].state, "UNAVAILABLE");
  EXPECT_EQ(index[2].reason, "no artifact");
  Place("a/3.pt2");
  EXPECT_TRUE(repository->Load("a").ok());
  EXPECT_EQ(Served(), (Names{"a:1", "a:2", "a:3"}));
  EXPECT_EQ(repository->Index()[2].reason, "");
}

TEST_F(RepositoryTest, AFileThatFailsInPlaceOfOneThatServesIsToldWhileTheOldServes) {
  Place("a/1.pt2");
  const auto repository = Open();
  ASSERT_TRUE(repository->Load("a").ok());
  Place("a/1.pt2", "broken");
  EXPECT_FALSE(repository->Load("a").ok());
  const RepositoryEntry entry = repository->Index().at(0);
  EXPECT_EQ(entry.state, "READY");
  EXPECT_EQ(entry.reason, "no artifact");
  EXPECT_FALSE(repository->Load("a").ok());  // and it is tried again
  EXPECT_EQ(loaded_.size(), 3u);
}

TEST_F(RepositoryTest, OnlyWhatChangedIsLoaded) {
  Place("a/1.pt2");
  Place("a/2.pt2");
  const auto repository = Open(VersionPolicy::kAll);
  ASSERT_TRUE(repository->Load("a").ok());
  const ModelPtr first = models_.Find("a", "1").value();
  loaded_.clear();
  Place("a/2.pt2");
  ASSERT_TRUE(repository->Load("a").ok());
  EXPECT_EQ(loaded_, Names{"a:2"});
  EXPECT_EQ(models_.Find("a", "1").value(), first);
}

TEST_F(RepositoryTest, ClientsAreAnsweredOnceAndInOrder) {
  Place("a/1.pt2");
  const auto repository = Open();
  std::promise<Names> answers;
  Names seen;
  repository->LoadForClient("a", [&](Status status) { seen.push_back(status.ok() ? "ok" : status.message()); });
  repository->LoadForClient("x", [&](Status status) { seen.push_back(status.ok() ? "ok" : "not found"); });
  repository->UnloadForClient("a", [&](Status status) {
    seen.push_back(status.ok() ? "ok" : status.message());
    answers.set_value(seen);
  });
  EXPECT_EQ(answers.get_future().get(), (Names{"ok", "not found", "ok"}));
  EXPECT_EQ(Served(), Names{});
}

TEST_F(RepositoryTest, WithoutControlClientsAreRefused) {
  Place("a/1.pt2");
  const auto repository = Open(VersionPolicy::kLatest, /*control=*/false);
  StatusCode code = StatusCode::kOk;
  repository->LoadForClient("a", [&](Status status) { code = status.code(); });
  EXPECT_EQ(code, StatusCode::kUnavailable);
  EXPECT_TRUE(loaded_.empty());
}

}  // namespace
}  // namespace recpile::serving
