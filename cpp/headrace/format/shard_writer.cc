#include "headrace/format/shard_writer.h"

#include <cinttypes>
#include <random>

#include "headrace/format/framing.h"
#include "headrace/format/layout.h"

namespace headrace::format {

Result<codec::Uuid> random_uuid() {
  codec::Uuid uuid;
  try {
    std::random_device device;
    for (std::size_t i = 0; i < uuid.size(); i += 4) store_le(uuid.data() + i, static_cast<std::uint32_t>(device()));
  } catch (const std::exception& error) {  // The standard library's only way to say that the system has no randomness.
    return Status(Code::kIoError, strf("make a uuid: the system's random source failed: %s", error.what()));
  }
  return uuid;
}

std::string uuid_text(const codec::Uuid& uuid) {
  std::string text;
  for (const std::uint8_t byte : uuid) text += strf("%02x", byte);
  return text;
}

Result<std::unique_ptr<ShardWriter>> ShardWriter::create(const std::string& directory, Schema schema, const codec::Uuid& uuid,
                                                         std::uint32_t chunk_samples, Dictionaries dictionaries) {
  if (chunk_samples == 0) return Status(Code::kInvalidArgument, "create a shard: chunk_samples is 0; expected at least 1");
  std::unique_ptr<ShardWriter> writer(new ShardWriter());
  writer->schema_ = std::move(schema);
  writer->dictionaries_ = std::move(dictionaries);
  writer->uuid_ = uuid;
  writer->chunk_samples_ = chunk_samples;
  writer->file_name_ = "shard-" + uuid_text(uuid) + ".hrs";
  HR_ASSIGN_OR_RETURN(writer->file_, storage::PublishedFile::create(directory + "/" + writer->file_name_));
  Header header;
  header.minor = minor_of(writer->schema_);
  header.uuid = uuid;
  header.chunk_samples = chunk_samples;
  header.num_fields = static_cast<std::uint32_t>(writer->schema_.fields.size());
  HR_RETURN_IF_ERROR(writer->file_.append(encode_header(header)));
  return writer;
}

Status ShardWriter::append(EncodedChunk chunk) {
  if (chunk.page_entries.size() != schema_.fields.size() * kPageEntryBytes || chunk.bytes.size() % kChunkAlignment != 0) {
    return {Code::kInvalidArgument, strf("write %s: the chunk was encoded for another schema", file_.path().c_str())};
  }
  if (last_seen_ || chunk.num_samples > chunk_samples_) {
    return {Code::kInvalidArgument, strf("write %s: chunk %" PRIu64 " has %u samples; only the last may differ from %u, and downwards",
                                         file_.path().c_str(), num_chunks_, chunk.num_samples, chunk_samples_)};
  }
  const std::uint64_t offset = file_.size();
  HR_RETURN_IF_ERROR(file_.append(chunk.bytes));
  for (std::size_t at = 24; at < chunk.page_entries.size(); at += kPageEntryBytes) {
    std::uint8_t* const first_block = chunk.page_entries.data() + at;
    store_le(first_block, load_le<std::uint64_t>(first_block) + num_blocks_);
  }
  ByteWriter entry;
  entry.write(offset);
  entry.write(std::uint64_t{chunk.bytes.size()});
  entry.write(chunk.num_samples);
  entry.write(std::uint32_t{0});
  index_.insert(index_.end(), entry.bytes().begin(), entry.bytes().end());
  index_.insert(index_.end(), chunk.page_entries.begin(), chunk.page_entries.end());
  last_seen_ = chunk.num_samples < chunk_samples_;
  ++num_chunks_;
  num_samples_ += chunk.num_samples;
  num_blocks_ += chunk.num_blocks;
  return {};
}

Result<ShardEntry> ShardWriter::finish() {
  const std::vector<std::uint8_t> schema = encode_schema(schema_, dictionaries_);
  Footer footer;
  footer.minor = minor_of(schema_);
  footer.num_fields = static_cast<std::uint32_t>(schema_.fields.size());
  footer.uuid = uuid_;
  footer.num_chunks = num_chunks_;
  footer.num_samples = num_samples_;
  footer.num_blocks = num_blocks_;
  footer.index_offset = file_.size();
  footer.index_bytes = index_.size();
  footer.schema_offset = footer.index_offset + index_.size();
  footer.schema_bytes = schema.size();
  footer.file_bytes = footer.schema_offset + schema.size() + kFooterBytes;
  footer.index_hash = codec::hash(index_, codec::place_seed(uuid_, codec::Region::kIndex));
  footer.schema_hash = codec::hash(schema, codec::place_seed(uuid_, codec::Region::kSchema));
  const auto encoded = encode_footer(footer);
  HR_RETURN_IF_ERROR(file_.append(index_));
  HR_RETURN_IF_ERROR(file_.append(schema));
  HR_RETURN_IF_ERROR(file_.append(encoded));
  HR_RETURN_IF_ERROR(file_.publish());
  return ShardEntry{file_name_, uuid_, footer.file_bytes, num_samples_, chunk_samples_, load_le<std::uint64_t>(encoded.data() + 112)};
}

std::uint64_t ShardWriter::bytes_written() const { return file_.size(); }

}  // namespace headrace::format
