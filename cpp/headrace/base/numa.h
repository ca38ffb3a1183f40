// Memory nodes: which of them belong to which cores, as /sys/devices/system/node says.
//
// Owns nothing; any thread. `root` stands before /sys: tests give a tree of their own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace headrace {

// Numbers of a list as the kernel writes it: "0-3,8" is 0 1 2 3 8; "" is none. Nothing where it is written otherwise.
std::optional<std::vector<int>> parse_number_list(std::string_view text);

// The nodes that have any of these cores, ascending. Empty where that says nothing: one node only, or all that have cores.
std::vector<int> home_nodes(const std::vector<int>& cores, const std::string& root = {});

}  // namespace headrace
