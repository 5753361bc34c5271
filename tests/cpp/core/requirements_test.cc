#include "artifact/requirements.h"

#include <gtest/gtest.h>

namespace recpile {
namespace {

const Requirements kNeeds = {"2.13", "1.8", "x86_64", {"avx2", "avx512f", "amx_bf16"}};
const Machine kHere = {"2.13", "1.8", "x86_64", {"sse4_2", "avx2", "avx512f", "amx_bf16"}};

// Why `machine` cannot run what has kNeeds; empty if it can.
std::string Refusal(const Machine& machine) {
  const Status status = CheckRequirements(kNeeds, machine);
  EXPECT_TRUE(status.ok() || status.code() == StatusCode::kUnsupported);
  return status.message();
}

TEST(Requirements, MachineThatMeetsThemPasses) { EXPECT_EQ(Refusal(kHere), ""); }

TEST(Requirements, MachineWithExactlyTheFeaturesPasses) {
  Machine machine = kHere;
  machine.cpu_features = {"avx2", "avx512f", "amx_bf16"};
  EXPECT_EQ(Refusal(machine), "");
}

TEST(Requirements, OtherTorchIsNamed) {
  Machine machine = kHere;
  machine.torch = "2.12";
  EXPECT_EQ(
      Refusal(machine),
      "the artifact needs torch 2.13; this runtime has 2.12: export it again with this version, or install that one");
}

TEST(Requirements, OtherFbgemmIsNamed) {
  Machine machine = kHere;
  machine.fbgemm = "1.9";
  EXPECT_EQ(
      Refusal(machine),
      "the artifact needs fbgemm 1.8; this runtime has 1.9: export it again with this version, or install that one");
}

TEST(Requirements, OtherArchitectureIsNamed) {
  Machine machine = kHere;
  machine.arch = "aarch64";
  EXPECT_EQ(Refusal(machine), "the artifact was compiled for x86_64; this machine is aarch64: export it there");
}

TEST(Requirements, EveryLackingFeatureIsNamed) {
  Machine machine = kHere;
  machine.cpu_features = {"avx2"};
  EXPECT_EQ(Refusal(machine),
            "the artifact's code uses CPU features that this machine lacks: avx512f, amx_bf16; export it here");
  machine.cpu_features = {};
  EXPECT_NE(Refusal(machine).find("avx2, avx512f, amx_bf16"), std::string::npos);
}

TEST(Requirements, NoFeaturesAreMetByAnyCpu) {
  Machine machine = kHere;
  machine.cpu_features = {};
  EXPECT_TRUE(CheckRequirements({"2.13", "1.8", "x86_64", {}}, machine).ok());
}

TEST(Requirements, ThisMachineMeetsItsOwn) {
  const Machine here = ThisMachine();
  EXPECT_NE(here.torch.find('.'), std::string::npos);
  EXPECT_NE(here.fbgemm.find('.'), std::string::npos);
  EXPECT_NE(here.arch, "unknown");
  EXPECT_FALSE(here.cpu_features.empty());
  const std::vector<std::string> all(here.cpu_features.begin(), here.cpu_features.end());
  EXPECT_TRUE(CheckRequirements({here.torch, here.fbgemm, here.arch, all}, here).ok());
}

}  // namespace
}  // namespace recpile
