// The part of Dataset that lays datasets side by side.
#include <utility>

#include "headrace/pipeline/dataset.h"

namespace headrace::pipeline {

Result<std::shared_ptr<Dataset>> Dataset::zip(const std::vector<std::shared_ptr<const Dataset>>& parts) {
  if (parts.empty()) return Status(Code::kInvalidArgument, "zip: expected at least one dataset");
  std::shared_ptr<Dataset> out(new Dataset());
  out->first_sample_.push_back(parts[0]->num_samples());
  out->layout_ = parts[0]->layout();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Dataset& part = *parts[i];
    if (!part.parts().empty()) return Status(Code::kInvalidArgument, "zip: " + part.path() + " is a zip itself; expected its parts");
    if (part.num_samples() != parts[0]->num_samples()) {
      return Status(Code::kInvalidArgument, strf("zip: %s has %llu samples, %s has %llu; expected as many", part.path().c_str(),
                                                 static_cast<unsigned long long>(part.num_samples()), parts[0]->path().c_str(),
                                                 static_cast<unsigned long long>(parts[0]->num_samples())));
    }
    for (format::Field field : part.schema().fields) {
      field.name = strf("%zu.", i) + field.name;
      out->manifest_.schema.fields.push_back(std::move(field));
    }
    out->path_ += (i == 0 ? "" : " | ") + part.path();
    out->fingerprint_ = i == 0 ? part.fingerprint() : mix_key(out->fingerprint_, part.fingerprint());
  }
  out->parts_ = parts;
  return out;
}

std::vector<std::vector<std::uint32_t>> Dataset::fields_of_parts(const std::vector<std::uint32_t>& fields) const {
  std::vector<std::vector<std::uint32_t>> out(parts_.size());
  for (std::uint32_t field : fields) {
    std::size_t part = 0;
    for (; field >= parts_[part]->schema().fields.size(); ++part) field -= static_cast<std::uint32_t>(parts_[part]->schema().fields.size());
    out[part].push_back(field);
  }
  return out;
}

bool Dataset::parts_in_memory(const std::vector<std::uint32_t>& fields) const {
  const auto of_parts = fields_of_parts(fields);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (!parts_[i]->in_memory(of_parts[i])) return false;
  }
  return true;
}

Result<std::uint64_t> Dataset::average_parts_bytes(const std::vector<std::uint32_t>& fields) const {
  const auto of_parts = fields_of_parts(fields);
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (of_parts[i].empty()) continue;
    HR_ASSIGN_OR_RETURN(const std::uint64_t of_part, parts_[i]->average_sample_bytes(of_parts[i]));
    bytes += of_part;
  }
  return bytes;
}

const char* Dataset::parts_reader_name() const {
  for (const auto& part : parts_) {
    if (part->table() == nullptr) return part->reader_name();
  }
  return "memory";
}

}  // namespace headrace::pipeline
