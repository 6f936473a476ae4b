// Random rules of `prism compose`.
#pragma once

#include <string>
#include <vector>

#include "fs/contract/file_system.h"
#include "fs/core/compose.h"
#include "tests/model/random_ops.h"

namespace prism::model {

struct ComposeSource {
  std::string name;
  std::vector<std::string> directories;  // paths; the root is "/"
  std::vector<std::string> files;        // all that are none
};

// All paths of a volume, as far as it can be listed.
ComposeSource ListPaths(const std::string& name, fs::FileSystem& volume);

// Mostly rules that can be followed. The first of `sources` is the base, unless it is left out.
fs::ComposeOptions DrawCompose(Random& random, const std::vector<ComposeSource>& sources);

std::string Describe(const fs::ComposeOptions& options);

}  // namespace prism::model
