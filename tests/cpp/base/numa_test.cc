#include "headrace/base/numa.h"

#include <doctest/doctest.h>

#include "base/tree.h"

namespace headrace {
namespace {

using Numbers = std::vector<int>;

// Two sockets of four cores, two memory nodes each, and a fifth node that has memory only.
Tree machine() {
  Tree tree;
  const std::string folder = "/sys/devices/system/node/";
  tree.put(folder + "online", "0-4\n");
  tree.put(folder + "node0/cpulist", "0-1\n");
  tree.put(folder + "node1/cpulist", "2-3\n");
  tree.put(folder + "node2/cpulist", "4,6\n");
  tree.put(folder + "node3/cpulist", "5,7\n");
  tree.put(folder + "node4/cpulist", "\n");
  return tree;
}

TEST_CASE("lists of numbers as the kernel writes them") {
  CHECK(parse_number_list("") == Numbers{});
  CHECK(parse_number_list("0") == Numbers{0});
  CHECK(parse_number_list("0-3,8") == Numbers{0, 1, 2, 3, 8});
  CHECK(parse_number_list("5,7-7") == Numbers{5, 7});
  for (const char* text : {"x", "-", "1-", "-1", "3-1", "1,", ",1", "1 2", "1-2-3", "99999999999999999999", "0-70000", "\n"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_number_list(text).has_value());
  }
}

TEST_CASE("the nodes of some cores; none where that says nothing") {
  const Tree tree = machine();
  CHECK(home_nodes({0, 1}, tree.root()) == Numbers{0});
  CHECK(home_nodes({3}, tree.root()) == Numbers{1});
  CHECK(home_nodes({4, 5, 6, 7}, tree.root()) == Numbers{2, 3});
  CHECK(home_nodes({1, 7}, tree.root()) == Numbers{0, 3});
  CHECK(home_nodes({0, 1, 2, 3, 4, 5, 6, 7}, tree.root()).empty());
  CHECK(home_nodes({0, 2, 4, 5}, tree.root()).empty());  // Some cores of each: all nodes that have any.
  CHECK(home_nodes({}, tree.root()).empty());
  CHECK(home_nodes({99}, tree.root()).empty());
}

TEST_CASE("one node, and no files at all, are nothing to prefer") {
  const Tree none;
  CHECK(home_nodes({0}, none.root()).empty());
  const Tree one;
  one.put("/sys/devices/system/node/online", "0\n");
  one.put("/sys/devices/system/node/node0/cpulist", "0-1\n");
  CHECK(home_nodes({0}, one.root()).empty());
  CHECK(home_nodes({0, 1}, one.root()).empty());
}

}  // namespace
}  // namespace headrace
