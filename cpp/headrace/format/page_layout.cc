#include "headrace/format/page_layout.h"

#include "headrace/format/layout.h"

namespace headrace::format {
namespace {

constexpr std::uint64_t kMaxValuesBytes = 1ull << 62;

}  // namespace

bool layout_page(const Field& field, std::uint32_t num_samples, std::uint64_t values_bytes, PageLayout* out) {
  if (values_bytes >= kMaxValuesBytes) return false;
  *out = PageLayout{};
  SectionRef* const sections = out->sections;
  if (field.nullable) sections[0].decoded_bytes = ceil_div(num_samples, 8);
  if (field.is_variable()) {
    out->offset_width = values_bytes > UINT32_MAX ? 8 : 4;
    sections[1].decoded_bytes = (std::uint64_t{num_samples} + 1) * out->offset_width;
  }
  sections[2].decoded_bytes = values_bytes;
  std::uint64_t blocks = 0;
  for (int i = 0; i < 3; ++i) {
    sections[i].block_bytes = i == 2 ? field.block_bytes : static_cast<std::uint32_t>(kSideBlockBytes);
    sections[i].first_block = static_cast<std::uint32_t>(blocks);
    const std::uint64_t count = ceil_div(sections[i].decoded_bytes, sections[i].block_bytes);
    blocks += count;
    if (blocks > UINT32_MAX) return false;
    sections[i].num_blocks = static_cast<std::uint32_t>(count);
  }
  out->num_blocks = static_cast<std::uint32_t>(blocks);
  out->table_bytes = blocks * kBlockEntryBytes;
  std::uint64_t at = round_up(out->table_bytes, kPageAlignment);
  for (int i = 0; i < 3; ++i) {
    sections[i].offset = at;
    if (i < 2) at += round_up(sections[i].decoded_bytes, kPageAlignment);
  }
  return true;
}

}  // namespace headrace::format
