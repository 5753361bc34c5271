// The answers of the service's metadata calls.
#pragma once

#include <vector>

#include "rpc/inference.pb.h"
#include "serving/context.h"

namespace recpile::rpc {

void DescribeServer(const serving::Context& context, inference::ServerMetadataResponse* out);
// `versions`: all that are served under the model's name.
void DescribeModel(const ModelInfo& model, const std::vector<serving::ModelPtr>& versions,
                   inference::ModelMetadataResponse* out);
void DescribeConfig(const ModelInfo& model, inference::ModelConfig* out);
// What the numbers mean: kserve/metadata.h.
void DescribeStatistics(const serving::ServedModel& model, inference::ModelStatistics* out);
void DescribeRepository(const std::vector<serving::RepositoryEntry>& index, bool ready_only,
                        inference::RepositoryIndexResponse* out);
void DescribeMemory(const std::vector<serving::MemoryRegion>& regions,
                    inference::SystemSharedMemoryStatusResponse* out);

}  // namespace recpile::rpc
