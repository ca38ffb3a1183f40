#include "headrace/format/codec_choice.h"

#include <cmath>
#include <random>

#include "format/fixture.h"

namespace headrace::format {
namespace {

CodecChoice choice_of(Field& field, const ColumnChunk& column) {
  Result<CodecChoice> choice = choose_codec(column, field);
  REQUIRE(choice.is_ok());
  const CodecTrial& chosen = choice->trials.at(choice->chosen);
  CHECK(field.codec == chosen.codec);
  CHECK(field.filter == chosen.filter);
  CHECK(field.level == chosen.level);
  CHECK(field.dictionary == chosen.dictionary);
  CHECK(choice->field == field.name);
  CHECK_FALSE(choice->reason.empty());
  return *std::move(choice);
}

Field chosen(Field field, const ColumnChunk& column) {
  choice_of(field, column);
  return field;
}

Buffer noise(std::size_t bytes) {
  Buffer out(bytes);
  std::mt19937 random(1);
  for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(random());
  return out;
}

// Sentences of a few words each, one a sample.
ColumnChunk sentences(std::size_t count) {
  const std::vector<std::string> words = {"river",  "turbine", "channel", "gate",  "pressure", "valve",   "measured", "opened",
                                          "closed", "report",  "station", "level", "rising",   "falling", "normal",   "alarm"};
  std::mt19937 random(3);
  ColumnChunk column;
  column.offsets = {0};
  for (std::size_t i = 0; i < count; ++i) {
    std::string text = "{\"station\": " + std::to_string(random() % 1000) + ", \"text\": \"";
    for (int w = 0; w < 40; ++w) text += words[random() % words.size()] + " ";
    column.values.insert(column.values.end(), text.begin(), text.end());
    column.offsets.push_back(column.values.size());
  }
  return column;
}

}  // namespace

TEST_CASE("noise and images stay as they are, and the reason says so") {
  Field field = with_storage(make_field("x", Kind::kTensor, "float32"), codec::Codec::kZstd, codec::Filter::kShuffle, 64);
  CodecChoice choice = choice_of(field, {noise(200000), {}, {}});
  CHECK(field.codec == codec::Codec::kNone);
  CHECK(field.filter == codec::Filter::kNone);
  CHECK(choice.trials.size() == 9);  // As it is; LZ4 and zstd with each of four filters.
  CHECK(choice.reason == "as it is: nothing made it smaller");
  Field image = make_field("x", Kind::kImage);
  CHECK(choice_of(image, {Buffer(100000, 1), {}, {}}).reason == "as it is: encoded images are compressed already");
  CHECK(image.codec == codec::Codec::kNone);
  Field empty = make_field("x", Kind::kTensor, "int64");
  CHECK(choice_of(empty, {}).reason == "as it is: the first chunk has no values to try");
}

TEST_CASE("saving less than a third is not worth decoding") {
  Buffer bytes = noise(300000);
  for (std::size_t i = 0; i < bytes.size(); i += 4) bytes[i] = 0;  // A quarter can be saved.
  Field field = make_field("x", Kind::kTensor, "uint8");
  const CodecChoice choice = choice_of(field, {bytes, {}, {}});
  CHECK(field.codec == codec::Codec::kNone);
  CHECK(choice.reason.find("a third must be saved") != std::string::npos);
}

// Sanitizers slow our filters and not the codecs' libraries: what is measured under them is not what is chosen elsewhere.
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
// Which of the two codecs is not said: their rates are measured, and on a busy machine either may seem the faster.
TEST_CASE("counters get delta and shuffle; constant bytes need no filter") {
  std::vector<std::int64_t> counter(50000);
  for (std::size_t i = 0; i < counter.size(); ++i) counter[i] = static_cast<std::int64_t>(i * 1000003);
  const Field field = chosen(make_field("x", Kind::kTensor, "int64"), {bytes_of(counter), {}, {}});
  CHECK(field.codec != codec::Codec::kNone);
  CHECK(field.filter == codec::Filter::kDeltaShuffle);
  CHECK(field.level == codec::default_level(field.codec));
  const Field bytes = chosen(make_field("x", Kind::kTensor, "uint8"), {Buffer(100000, 7), {}, {}});
  CHECK(bytes.codec != codec::Codec::kNone);
  CHECK(bytes.filter == codec::Filter::kNone);
}

#endif

TEST_CASE("zstd where it saves much more than LZ4") {
  // Bytes of 2 bits of entropy and no repeats: entropy coding makes a quarter of them, matching does little.
  Buffer pairs = noise(300000);
  for (std::uint8_t& byte : pairs) byte &= 0x03;
  CHECK(chosen(make_field("x", Kind::kTensor, "uint8"), {pairs, {}, {}}).codec == codec::Codec::kZstd);
}

TEST_CASE("what weighs least is taken, and the figures are those of the values") {
  std::vector<float> smooth(100000);
  for (std::size_t i = 0; i < smooth.size(); ++i) smooth[i] = std::sin(static_cast<float>(i / 50) * 0.01F);
  Field field = make_field("x", Kind::kTensor, "float32");
  const CodecChoice choice = choice_of(field, {bytes_of(smooth), {}, {}});
  const CodecTrial& taken = choice.trials[choice.chosen];
  CHECK(choice.chosen > 0);
  for (const CodecTrial& trial : choice.trials) {
    if (trial.ratio < 1.5) continue;
    CHECK(taken.seconds_per_gb <= trial.seconds_per_gb * kTie * 1.001);
    CHECK(trial.decode_bytes_per_second > 0);
    const double weight = 1 / trial.ratio + 1e9 / kThreads / trial.decode_bytes_per_second;
    CHECK(std::abs(trial.seconds_per_gb - weight - 0.05) < 1e-9);
  }
  CHECK(choice.reason.find("x smaller, decoded at") != std::string::npos);
  CHECK(choice.reason.find("; next: ") != std::string::npos);
}

TEST_CASE("small texts that resemble each other get a dictionary and small blocks") {
  Field text = make_field("t", Kind::kString);
  const CodecChoice choice = choice_of(text, sentences(6000));
  CHECK(text.dictionary);
  CHECK(text.codec == codec::Codec::kZstd);
  CHECK(choice.trials[choice.chosen].block_bytes == 2048);
  CHECK(choice.reason.find("since a shuffled sample costs the decoding of its block") != std::string::npos);

  Field few = make_field("t", Kind::kString);  // Too few to learn from.
  choice_of(few, sentences(100));
  CHECK_FALSE(few.dictionary);
  ColumnChunk large = sentences(6000);  // The same bytes as large samples.
  large.offsets = {0, large.values.size() / 2, large.values.size()};
  Field document = make_field("t", Kind::kString);
  choice_of(document, large);
  CHECK_FALSE(document.dictionary);
}

}  // namespace headrace::format
