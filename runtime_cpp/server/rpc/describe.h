// The answers of the service's metadata calls.
#pragma once

#include <string>
#include <vector>

#include "rpc/inference.pb.h"
#include "serving/repository.h"
#include "serving/served_model.h"

namespace recpile::rpc {

void DescribeServer(const std::string& version, inference::ServerMetadataResponse* out);
// `versions`: all that are served under the model's name.
void DescribeModel(const ModelInfo& model, const std::vector<serving::ModelPtr>& versions,
                   inference::ModelMetadataResponse* out);
void DescribeConfig(const ModelInfo& model, inference::ModelConfig* out);
// What the numbers mean: kserve/metadata.h.
void DescribeStatistics(const serving::ServedModel& model, inference::ModelStatistics* out);
void DescribeRepository(const std::vector<serving::RepositoryEntry>& index, bool ready_only,
                        inference::RepositoryIndexResponse* out);

}  // namespace recpile::rpc
