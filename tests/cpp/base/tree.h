// A tree of small files that stands for /proc and /sys.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "temp_dir.h"

namespace headrace {

class Tree {
 public:
  void put(const std::string& path, const std::string& text) const {
    const std::filesystem::path file(root() + path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string root() const { return dir_->path(); }

 private:
  std::unique_ptr<TempDir> dir_ = std::make_unique<TempDir>();
};

}  // namespace headrace
