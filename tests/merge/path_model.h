// Three-way merging of trees as maps from paths: what a merge must come to where nothing is
// renamed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "fs/contract/attr.h"

namespace prism::mergetest {

struct ModelFile {
  fs::FileType type = fs::FileType::kRegular;
  std::string data;
  uint32_t uid = 0;
  bool operator==(const ModelFile&) const = default;
};

using Tree = std::map<std::string, ModelFile>;  // without the root

struct ModelMerge {
  Tree result;                      // where there are no conflicts
  std::set<std::string> conflicts;  // paths
};

ModelMerge MergeTrees(const Tree& base, const Tree& mine, const Tree& theirs);

}  // namespace prism::mergetest
