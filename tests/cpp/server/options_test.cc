#include "options.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace recpile {
namespace {

std::variant<CommandLine, int> Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "recpile-server");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  auto parsed = ParseCommandLine(static_cast<int>(argv.size()), argv.data());
  const std::string said = ::testing::internal::GetCapturedStdout() + ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(said.empty(), parsed.index() == 0) << said;
  return parsed;
}

TEST(Options, DefaultsAreTheLibraries) {
  const auto parsed = Parse({"m.pt2"});
  const CommandLine& options = std::get<CommandLine>(parsed);
  EXPECT_EQ(options.artifact, "m.pt2");
  EXPECT_EQ(options.model_name, "");
  EXPECT_EQ(options.engine.max_batch_size, EngineOptions().max_batch_size);
  EXPECT_EQ(options.http->timeout, http::ServerOptions().timeout);
  EXPECT_EQ(options.http->port, 8000);
  EXPECT_EQ(options.metrics->port, 8002);
  EXPECT_TRUE(options.engine.verify_checksums);
  EXPECT_FALSE(options.repository);
  EXPECT_FALSE(options.recording);
}

TEST(Options, Recording) {
  const auto parsed = Parse({"m.pt2", "--record", "r.rec", "--record-share", "0.5", "--record-max-bytes", "4096"});
  const auto& recording = std::get<CommandLine>(parsed).recording;
  ASSERT_TRUE(recording);
  EXPECT_EQ(recording->file, "r.rec");
  EXPECT_EQ(recording->share, 0.5);
  EXPECT_EQ(recording->max_bytes, 4096U);
  EXPECT_EQ(std::get<int>(Parse({"m.pt2", "--record-share", "0.5"})), 2);  // of what?
}

TEST(Options, AllOfThemArrive) {
  const auto parsed = Parse({"m.pt2",
                             "--host",
                             "::1",
                             "--http-port",
                             "0",
                             "--model-name",
                             "n",
                             "--instances",
                             "3",
                             "--max-batch-size",
                             "64",
                             "--max-queue-delay-microseconds",
                             "500",
                             "--max-queue-size",
                             "9",
                             "--io-threads",
                             "2",
                             "--max-request-bytes",
                             "4096",
                             "--max-pending-bytes",
                             "8192",
                             "--request-timeout-seconds",
                             "7",
                             "--grace-seconds",
                             "0",
                             "--fbgemm-dir",
                             "/f",
                             "--no-verify-checksums",
                             "--log-level",
                             "debug",
                             "--exit-with-parent"});
  const CommandLine& options = std::get<CommandLine>(parsed);
  EXPECT_EQ(options.model_name, "n");
  EXPECT_EQ(options.engine.instances, 3);
  EXPECT_EQ(options.engine.max_batch_size, 64);
  EXPECT_EQ(options.engine.max_queue_delay_microseconds, 500);
  EXPECT_EQ(options.engine.max_queue_size, 9);
  EXPECT_EQ(options.engine.fbgemm_dir, "/f");
  EXPECT_FALSE(options.engine.verify_checksums);
  EXPECT_EQ(options.http->host, "::1");
  EXPECT_EQ(options.http->port, 0);
  EXPECT_EQ(options.http->io_threads, 2);
  EXPECT_EQ(options.http->max_request_bytes, 4096u);
  EXPECT_EQ(options.max_pending_bytes, 8192u);
  EXPECT_EQ(options.http->timeout, std::chrono::seconds(7));
  EXPECT_EQ(options.grace, std::chrono::seconds(0));
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_TRUE(options.exit_with_parent);
}

TEST(Options, HelpAndVersionExitWithZero) {
  EXPECT_EQ(std::get<int>(Parse({"--help"})), 0);
  EXPECT_EQ(std::get<int>(Parse({"--version"})), 0);
}

TEST(Options, MistakesExitWithTwo) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {},
           {"m.pt2", "another"},
           {"m.pt2", "--unknown"},
           {"m.pt2", "--http-port", "65536"},
           {"m.pt2", "--http-port", "-1"},
           {"m.pt2", "--io-threads", "0"},
           {"m.pt2", "--max-batch-size", "many"},
           {"m.pt2", "--max-request-bytes", "4096", "--max-pending-bytes", "4095"},
           {"m.pt2", "--log-level", "loud"},
       }) {
    EXPECT_EQ(std::get<int>(Parse(arguments)), 2);
  }
}

}  // namespace
}  // namespace recpile
