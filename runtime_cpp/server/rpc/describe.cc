#include "rpc/describe.h"

#include "kserve/datatypes.h"
#include "kserve/metadata.h"

namespace recpile::rpc {
namespace {

void SetDuration(uint64_t count, uint64_t ns, inference::StatisticDuration* out) {
  out->set_count(count);
  out->set_ns(ns);
}

void SetDuration(uint64_t count, const Histogram& us, inference::StatisticDuration* out) {
  SetDuration(count, static_cast<uint64_t>(us.sum * 1000), out);
}

void SetTensor(const TensorSpec& spec, inference::ModelMetadataResponse::TensorMetadata* out) {
  out->set_name(spec.name);
  out->set_datatype(std::string(kserve::DatatypeName(spec.dtype)));
  out->mutable_shape()->Assign(spec.shape.begin(), spec.shape.end());
}

template <class Tensor>
void SetConfig(const TensorSpec& spec, Tensor* out) {
  inference::DataType type = inference::TYPE_INVALID;
  inference::DataType_Parse(kserve::ConfigTypeName(spec.dtype), &type);
  out->set_name(spec.name);
  out->set_data_type(type);
  out->mutable_dims()->Assign(spec.shape.begin(), spec.shape.end());
}

}  // namespace

void DescribeServer(const serving::Context& context, inference::ServerMetadataResponse* out) {
  out->set_name("recpile");
  out->set_version(context.server_version);
  for (const std::string& name : kserve::Extensions(context.memory != nullptr)) out->add_extensions(name);
}

void DescribeModel(const ModelInfo& model, const std::vector<serving::ModelPtr>& versions,
                   inference::ModelMetadataResponse* out) {
  out->set_name(model.name);
  for (const serving::ModelPtr& version : versions) out->add_versions(version->info.version);
  out->set_platform("recpile");
  for (const TensorSpec& spec : model.inputs) SetTensor(spec, out->add_inputs());
  for (const TensorSpec& spec : model.outputs) SetTensor(spec, out->add_outputs());
}

void DescribeConfig(const ModelInfo& model, inference::ModelConfig* out) {
  out->set_name(model.name);
  out->set_platform("recpile");
  out->set_backend("recpile");
  for (const TensorSpec& spec : model.inputs) SetConfig(spec, out->add_input());
  for (const TensorSpec& spec : model.outputs) SetConfig(spec, out->add_output());
}

void DescribeStatistics(const serving::ServedModel& model, inference::ModelStatistics* out) {
  const EngineStats stats = model.stats();
  const uint64_t runs = kserve::WholeRuns(stats);
  const serving::RequestMeter& meter = *model.meter;
  out->set_name(model.info.name);
  out->set_version(model.info.version);
  out->set_last_inference(meter.last_ms());
  out->set_inference_count(stats.samples);
  out->set_execution_count(stats.batches);
  auto* times = out->mutable_inference_stats();
  SetDuration(meter.successes(), meter.success_ns(), times->mutable_success());
  SetDuration(meter.failures(), meter.failure_ns(), times->mutable_fail());
  SetDuration(stats.requests_ok + stats.requests_failed, stats.queue_ns, times->mutable_queue());
  SetDuration(runs, stats.coalesce_us, times->mutable_compute_input());
  SetDuration(runs, stats.infer_us, times->mutable_compute_infer());
  SetDuration(runs, stats.split_us, times->mutable_compute_output());
}

void DescribeRepository(const std::vector<serving::RepositoryEntry>& index, bool ready_only,
                        inference::RepositoryIndexResponse* out) {
  for (const serving::RepositoryEntry& entry : index) {
    if (ready_only && entry.state != "READY") continue;
    auto* model = out->add_models();
    model->set_name(entry.name);
    model->set_version(entry.version);
    model->set_state(entry.state);
    model->set_reason(entry.reason);
  }
}

void DescribeMemory(const std::vector<serving::MemoryRegion>& regions,
                    inference::SystemSharedMemoryStatusResponse* out) {
  for (const serving::MemoryRegion& region : regions) {
    auto& entry = (*out->mutable_regions())[region.name];
    entry.set_name(region.name);
    entry.set_key(region.key);
    entry.set_offset(region.offset);
    entry.set_byte_size(region.byte_size);
  }
}

}  // namespace recpile::rpc
