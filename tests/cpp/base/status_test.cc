#include "headrace/base/status.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <memory>
#include <string>

namespace headrace {
namespace {

Status fail_if(bool fail) {
  if (fail) return {Code::kCorrupt, "broken"};
  return Status::ok();
}

Status through_macro(bool fail, bool* reached) {
  HR_RETURN_IF_ERROR(fail_if(fail));
  *reached = true;
  return Status::ok();
}

Result<std::unique_ptr<int>> make(int value) {
  if (value < 0) return Status(Code::kInvalidArgument, "negative");
  return std::make_unique<int>(value);
}

Result<int> doubled(int value) {
  HR_ASSIGN_OR_RETURN(const std::unique_ptr<int> made, make(value));
  return *made * 2;
}

TEST_CASE("a status is ok until it is given a code") {
  CHECK(Status().is_ok());
  CHECK(Status::ok().code() == Code::kOk);
  const Status status(Code::kTruncated, "short", 5);
  CHECK_FALSE(status.is_ok());
  CHECK(status.code() == Code::kTruncated);
  CHECK(status.message() == "short");
  CHECK(status.sys_errno() == 5);
}

TEST_CASE("errno picks the code and is kept") {
  CHECK(Status::from_errno(ENOENT, "open x").code() == Code::kNotFound);
  CHECK(Status::from_errno(EEXIST, "open x").code() == Code::kAlreadyExists);
  CHECK(Status::from_errno(ENOMEM, "open x").code() == Code::kOutOfMemory);
  const Status io = Status::from_errno(EIO, "read x");
  CHECK(io.code() == Code::kIoError);
  CHECK(io.sys_errno() == EIO);
  CHECK(io.message() == "read x: Input/output error");
  CHECK(Status::from_errno(EMFILE, "open x").message().find("ulimit -n") != std::string::npos);
}

TEST_CASE("context is put before the message and keeps code and errno") {
  const Status status = Status::from_errno(EIO, "read").with_context("shard a").with_context("dataset b");
  CHECK(status.message() == "dataset b: shard a: read: Input/output error");
  CHECK(status.code() == Code::kIoError);
  CHECK(status.sys_errno() == EIO);
  CHECK(Status::ok().with_context("shard a").message().empty());
}

TEST_CASE("HR_RETURN_IF_ERROR leaves on an error only") {
  bool reached = false;
  CHECK(through_macro(true, &reached).code() == Code::kCorrupt);
  CHECK_FALSE(reached);
  CHECK(through_macro(false, &reached).is_ok());
  CHECK(reached);
}

TEST_CASE("a result holds a value, also one that only moves, or the status") {
  auto made = make(21);
  REQUIRE(made);
  CHECK(made.status().is_ok());
  CHECK(**made == 21);
  const std::unique_ptr<int> taken = std::move(made).value();
  CHECK(*taken == 21);
  CHECK(make(-1).status().message() == "negative");
  CHECK(doubled(4).value() == 8);
  CHECK(doubled(-4).status().code() == Code::kInvalidArgument);
}

TEST_CASE("strf formats text of any length") {
  CHECK(strf("%d of %s", 3, "four") == "3 of four");
  CHECK(strf("%s", "").empty());
  CHECK(strf("%s", std::string(5000, 'x').c_str()) == std::string(5000, 'x'));
}

}  // namespace
}  // namespace headrace
