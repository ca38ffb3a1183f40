#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <bit>
#include <optional>

#include "headrace/bindings/interpreter_lock.h"
#include "headrace/bindings/paths.h"
#include "headrace/bindings/raise.h"
#include "headrace/bindings/register.h"
#include "headrace/bindings/samples.h"
#include "headrace/format/shard_writer.h"
#include "headrace/pipeline/batch_parts.h"
#include "headrace/pipeline/dataset.h"
#include "headrace/pipeline/order.h"

namespace py = pybind11;

namespace headrace::bindings {
namespace {

using format::DType;
using format::Field;
using pipeline::Dataset;

std::shared_ptr<Dataset> open_dataset(const py::object& path, std::uint64_t version, const std::string& reader, const std::string& verify,
                                      const std::optional<std::string>& share_group) {
  pipeline::DatasetOptions options;
  options.reader = unwrap(io::reader_from_name(reader));
  options.choose_reader = reader == "auto";
  options.verify = unwrap(io::verify_from_name(verify));
  options.share_node = share_group.has_value();
  options.share_group = share_group.value_or("");
  const std::string folder = file_path(path);
  return unwrap(without_lock([&] { return Dataset::open(folder, version, options); }));
}

py::object node_stats(const Dataset& dataset) {
  const io::NodeCache* const node = dataset.table() == nullptr ? dataset.runtime().node() : nullptr;
  if (node == nullptr) return py::none();
  const io::NodeCache::Stats s = node->stats();
  py::dict out;
  out["segments"] = s.segments;
  out["blocks"] = s.blocks;
  out["shared_bytes"] = s.shared_bytes;
  out["hits"] = s.hits;
  out["rejected"] = s.rejected;
  out["peers"] = s.peers;
  out["listens"] = s.listens;
  return out;
}

// A statistic's 64 bits as the Python number that they mean (FORMAT.md section 6).
py::object statistic(const Field& field, std::uint64_t bits) {
  switch (field.dtype) {
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64: return py::float_(std::bit_cast<double>(bits));
    case DType::kBool:
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64: return py::int_(bits);
    default: return py::int_(static_cast<std::int64_t>(bits));
  }
}

bool less(const Field& field, std::uint64_t a, std::uint64_t b) {
  switch (field.dtype) {
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64: return std::bit_cast<double>(a) < std::bit_cast<double>(b);
    case DType::kBool:
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64: return a < b;
    default: return static_cast<std::int64_t>(a) < static_cast<std::int64_t>(b);
  }
}

// Calls visit(shard number, shard, chunk) for every chunk, in order.
template <typename Visit>
void for_each_chunk(const Dataset& dataset, const Visit& visit) {
  for (std::uint32_t s = 0; s < dataset.manifest().shards.size(); ++s) {
    const format::Shard& shard = unwrap(dataset.source(s))->shard();
    for (std::uint64_t chunk = 0; chunk < shard.num_chunks(); ++chunk) visit(s, shard, chunk);
  }
}

py::list field_stats(const Dataset& dataset) {
  struct Total {
    std::uint64_t raw = 0, stored = 0, pages = 0, blocks = 0, nulls = 0, min = 0, max = 0;
    bool has = false;
  };
  const std::vector<Field>& fields = dataset.stored_schema().fields;
  std::vector<Total> totals(fields.size());
  for_each_chunk(dataset, [&](std::uint32_t, const format::Shard& shard, std::uint64_t chunk) {
    for (std::uint32_t f = 0; f < fields.size(); ++f) {
      const format::PageRef page = shard.page(chunk, f);
      Total& t = totals[f];
      for (const format::SectionRef& section : page.sections) t.raw += section.decoded_bytes;
      t.stored += page.stored_bytes;
      t.pages += 1;
      t.blocks += page.num_blocks;
      t.nulls += page.null_count;
      if (!page.has_min_max) continue;
      if (!t.has || less(fields[f], page.min, t.min)) t.min = page.min;
      if (!t.has || less(fields[f], t.max, page.max)) t.max = page.max;
      t.has = true;
    }
  });
  py::list out;
  for (std::size_t f = 0; f < fields.size(); ++f) {
    const Total& t = totals[f];
    py::dict one;
    one["name"] = fields[f].name;
    one["raw_bytes"] = t.raw;
    one["stored_bytes"] = t.stored;
    one["pages"] = t.pages;
    one["blocks"] = t.blocks;
    one["null_count"] = t.nulls;
    one["min"] = t.has ? statistic(fields[f], t.min) : py::object(py::none());
    one["max"] = t.has ? statistic(fields[f], t.max) : py::object(py::none());
    out.append(one);
  }
  return out;
}

py::dict chunk_stats(const Dataset& dataset, std::uint32_t field) {
  if (field >= dataset.stored_schema().fields.size())
    throw py::index_error(strf("field %u of %zu", field, dataset.stored_schema().fields.size()));
  std::vector<std::uint64_t> first, samples, nulls, stored, raw, min, max;
  std::vector<std::uint8_t> has;
  std::uint64_t at = 0;
  for_each_chunk(dataset, [&](std::uint32_t, const format::Shard& shard, std::uint64_t chunk) {
    const format::PageRef page = shard.page(chunk, field);
    first.push_back(at);
    samples.push_back(page.num_samples);
    at += page.num_samples;
    has.push_back(page.has_min_max ? 1 : 0);
    min.push_back(page.min);
    max.push_back(page.max);
    nulls.push_back(page.null_count);
    stored.push_back(page.stored_bytes);
    raw.push_back(page.section(format::Section::kValues).decoded_bytes);
  });
  const auto array = [](const std::vector<std::uint64_t>& v, const char* dtype) {
    return py::array(py::dtype::from_args(py::str(dtype)), std::vector<py::ssize_t>{static_cast<py::ssize_t>(v.size())}, v.data());
  };
  const py::object sample = statistic(dataset.stored_schema().fields[field], 0);
  const DType type = dataset.stored_schema().fields[field].dtype;
  const bool is_unsigned =
      type == DType::kBool || type == DType::kUInt8 || type == DType::kUInt16 || type == DType::kUInt32 || type == DType::kUInt64;
  const char* dtype = py::isinstance<py::float_>(sample) ? "float64" : is_unsigned ? "uint64" : "int64";
  py::dict out;
  out["first_sample"] = array(first, "int64");
  out["num_samples"] = array(samples, "int64");
  out["has_min_max"] = py::array(py::dtype::of<bool>(), std::vector<py::ssize_t>{static_cast<py::ssize_t>(has.size())}, has.data());
  out["min"] = array(min, dtype);
  out["max"] = array(max, dtype);
  out["null_count"] = array(nulls, "int64");
  out["stored_bytes"] = array(stored, "int64");
  out["raw_bytes"] = array(raw, "int64");
  return out;
}

py::list shard_list(const Dataset& dataset) {
  py::list out;
  for (std::uint32_t s = 0; s < dataset.manifest().shards.size(); ++s) {
    const format::ShardEntry& entry = dataset.manifest().shards[s];
    py::dict one;
    one["file_name"] = entry.file_name;
    one["file_bytes"] = entry.file_bytes;
    one["num_samples"] = entry.num_samples;
    one["chunk_samples"] = entry.chunk_samples;
    one["num_chunks"] = unwrap(dataset.source(s))->shard().num_chunks();
    out.append(one);
  }
  return out;
}

Result<pipeline::Batch> build(const pipeline::BuildContext& context, const std::vector<pipeline::PartPlan>& parts,
                              const std::vector<std::uint64_t>& samples, std::uint64_t epoch) {
  constexpr int kMaxRounds = 64;  // a file that changes underneath makes one
  for (int round = 0; round < kMaxRounds; ++round) {
    pipeline::BatchParts builder(context, parts, samples);
    HR_RETURN_IF_ERROR(builder.prepare());
    for (std::size_t i = 0; i < builder.num_pieces(); ++i) builder.run_piece(i);
    builder.set_epoch(epoch);
    const std::size_t images = builder.begin_images();
    for (std::size_t i = 0; i < images; ++i) builder.run_images(i);
    if (builder.is_outdated()) continue;
    const std::vector<pipeline::SampleError> errors = builder.errors();
    if (!errors.empty()) return errors.front().status;
    return builder.take();
  }
  return Status(Code::kChanged, "read samples: the dataset's files change all the time; write a new dataset, and open that");
}

std::shared_ptr<pipeline::Batch> fetch(const std::shared_ptr<Dataset>& dataset, const SampleArray& indices,
                                       const std::vector<std::uint32_t>& fields, const std::string& ragged,
                                       const std::vector<std::pair<std::uint32_t, std::shared_ptr<ops::ImagePlan>>>& images,
                                       std::uint64_t seed, std::uint64_t epoch) {
  static auto* counters = new pipeline::Counters();
  pipeline::BuildContext context;
  context.schema = std::shared_ptr<const format::Schema>(dataset, &dataset->schema());
  context.dataset = dataset;
  context.fields = fields;
  check(dataset->check_fields(fields));
  for (const auto& [field, plan] : images) check(check_image(*dataset, fields, field));
  set_plans(fields, {images.begin(), images.end()}, context);
  context.seed = seed;
  context.ragged = unwrap(pipeline::ragged_from_name(ragged));
  context.slabs = &dataset->runtime().slabs();
  context.counters = counters;
  const std::vector<pipeline::PartPlan> parts = plan_parts(context);
  const std::vector<std::uint64_t> samples = samples_of(indices, dataset->num_samples());
  return std::make_shared<pipeline::Batch>(unwrap(without_lock([&] { return build(context, parts, samples, epoch); })));
}

std::shared_ptr<Dataset> view_of(const std::shared_ptr<Dataset>& dataset, std::vector<std::uint32_t> fields, std::uint64_t length,
                                 std::uint64_t stride, std::vector<std::pair<std::uint32_t, std::string>> dtypes,
                                 const std::optional<SampleArray>& rows) {
  pipeline::View view{std::move(fields), length, stride, std::move(dtypes), nullptr};
  if (rows.has_value()) {
    const std::uint64_t samples = view.num_starts(dataset->num_rows());
    view.rows = std::make_shared<const std::vector<std::uint64_t>>(samples_of(*rows, samples));
  }
  return unwrap(Dataset::view_of(dataset, std::move(view)));
}

std::shared_ptr<Dataset> concat(const std::vector<std::shared_ptr<Dataset>>& datasets) {
  return unwrap(Dataset::concat({datasets.begin(), datasets.end()}));
}

std::shared_ptr<Dataset> zip(const std::vector<std::shared_ptr<Dataset>>& datasets) {
  return unwrap(Dataset::zip({datasets.begin(), datasets.end()}));
}

py::list chunk_layout(const Dataset& dataset) {
  py::list out;
  for (const pipeline::ChunkLayout::ShardChunks& shard : dataset.layout()->shards()) {
    out.append(py::make_tuple(shard.num_samples, shard.chunk_samples));
  }
  return out;
}

pipeline::Order make_order(std::uint64_t num_samples, std::uint64_t seed, std::uint64_t epoch, const std::string& kind,
                           std::uint32_t window, const std::vector<std::uint64_t>& shard_samples,
                           const std::vector<std::uint32_t>& chunk_samples, const std::shared_ptr<pipeline::AliasTable>& weights) {
  const pipeline::OrderKind which = unwrap(pipeline::order_from_name(kind));
  if (window < 1) throw py::value_error("window is 0; expected at least 1 chunk");
  if (num_samples > 1ull << 48) throw py::value_error("num_samples is beyond 2^48");
  std::shared_ptr<const pipeline::ChunkLayout> layout;
  if (which == pipeline::OrderKind::kWindow) {
    if (shard_samples.size() != chunk_samples.size()) throw py::value_error("shard_samples and chunk_samples differ in length");
    std::vector<pipeline::ChunkLayout::ShardChunks> shards;
    for (std::size_t i = 0; i < shard_samples.size(); ++i) {
      if (chunk_samples[i] < 1) throw py::value_error(strf("chunk_samples[%zu] is 0", i));
      shards.push_back({shard_samples[i], chunk_samples[i]});
    }
    layout = std::make_shared<const pipeline::ChunkLayout>(shards);
    if (layout->num_samples() != num_samples) {
      throw py::value_error(strf("the shards hold %llu samples, num_samples is %llu",
                                 static_cast<unsigned long long>(layout->num_samples()), static_cast<unsigned long long>(num_samples)));
    }
  }
  if (which == pipeline::OrderKind::kStrata) throw py::value_error("order 'strata': a Strata has its indices");
  if (which == pipeline::OrderKind::kMixed) throw py::value_error("order 'mixed': a Mixture has its indices");
  if ((which == pipeline::OrderKind::kWeighted) != (weights != nullptr)) throw py::value_error("weights go with the order 'weighted'");
  return {which, num_samples, seed, epoch, window, std::move(layout), weights};
}

py::array_t<std::int64_t> order_indices(const pipeline::Order& order, std::uint64_t begin, std::uint64_t end) {
  if (begin > end || end > order.size()) {
    throw py::value_error(strf("positions [%llu, %llu) are not in [0, %llu)", static_cast<unsigned long long>(begin),
                               static_cast<unsigned long long>(end), static_cast<unsigned long long>(order.size())));
  }
  py::array_t<std::int64_t> out(static_cast<py::ssize_t>(end - begin));
  auto* data = reinterpret_cast<std::uint64_t*>(out.mutable_data());  // Samples are below 2^48: the same bits.
  {
    py::gil_scoped_release release;
    order.fill(begin, {data, end - begin});
  }
  return out;
}

}  // namespace

void register_dataset(py::module_& m) {
  py::class_<Dataset, std::shared_ptr<Dataset>>(m, "Dataset")
      .def(py::init(&open_dataset), py::arg("path"), py::arg("version") = 0, py::kw_only(), py::arg("reader") = "auto",
           py::arg("verify") = "once", py::arg("share_group") = py::none())
      .def("__len__", &Dataset::num_samples)
      .def_property_readonly("path", [](const Dataset& d) { return path_text(d.path()); })
      .def_property_readonly("version", [](const Dataset& d) { return d.manifest().version; })
      .def_property_readonly("versions", [](const Dataset& d) { return unwrap(format::list_versions(d.path())); })
      .def_property_readonly("uuid", [](const Dataset& d) { return format::uuid_text(d.manifest().uuid); })
      .def_property_readonly("fingerprint", &Dataset::fingerprint)
      .def_property_readonly("created_ns", [](const Dataset& d) { return d.manifest().created_ns; })
      .def_property_readonly("schema", [](const Dataset& d) { return d.schema(); })
      .def_property_readonly("reader", [](const Dataset& d) { return d.reader_name(); })
      .def_property_readonly("reader_fallback", [](const Dataset& d) { return d.runtime().reader_fallback(); })
      .def_property_readonly("reader_reason", &Dataset::reader_reason)
      .def_property_readonly("node_stats", &node_stats)
      .def_property_readonly("newer_minor", &Dataset::newer_minor)
      .def_property_readonly("shards", &shard_list)
      .def_property_readonly("chunk_layout", &chunk_layout)
      .def("view", &view_of, py::arg("fields"), py::arg("length") = 0, py::arg("stride") = 1,
           py::arg("dtypes") = std::vector<std::pair<std::uint32_t, std::string>>{}, py::arg("rows") = py::none())
      .def_static("concat", &concat, py::arg("datasets"))
      .def_static("zip", &zip, py::arg("datasets"))
      .def("field_stats", &field_stats)
      .def("chunk_stats", &chunk_stats, py::arg("field"))
      .def("fetch", &fetch, py::arg("indices"), py::arg("fields"), py::arg("ragged") = "offsets",
           py::arg("images") = std::vector<std::pair<std::uint32_t, std::shared_ptr<ops::ImagePlan>>>{}, py::arg("seed") = 0,
           py::arg("epoch") = 0);
  py::class_<pipeline::Order>(m, "Order")
      .def(py::init(&make_order), py::arg("num_samples"), py::arg("seed"), py::arg("epoch"), py::arg("kind") = "global",
           py::arg("window") = 32, py::arg("shard_samples") = std::vector<std::uint64_t>{},
           py::arg("chunk_samples") = std::vector<std::uint32_t>{}, py::arg("weights") = py::none())
      .def("__len__", &pipeline::Order::size)
      .def("indices", &order_indices, py::arg("begin"), py::arg("end"));
}

}  // namespace headrace::bindings
