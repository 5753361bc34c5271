#include "engine/choose_instances.h"

namespace recpile {
namespace {

constexpr double kWorthMore = 0.9;

}  // namespace

std::vector<InstanceTrial> ChooseInstances(int most, const std::function<double(int)>& measure) {
  std::vector<InstanceTrial> trials = {{most, most > 1 ? measure(most) : 0}};
  while (trials.back().instances > 1 && trials.back().candidates_per_second > 0) {
    const int fewer = (trials.back().instances + 1) / 2;
    const InstanceTrial trial = {fewer, measure(fewer)};
    if (trial.candidates_per_second < kWorthMore * trials.back().candidates_per_second) {
      trials.insert(trials.end() - 1, trial);
      break;
    }
    trials.push_back(trial);
  }
  return trials;
}

}  // namespace recpile
