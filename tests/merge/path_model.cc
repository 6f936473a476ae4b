#include "tests/merge/path_model.h"

namespace prism::mergetest {
namespace {

using Slot = std::optional<ModelFile>;

Slot At(const Tree& tree, const std::string& path) {
  auto found = tree.find(path);
  return found == tree.end() ? Slot() : Slot(found->second);
}

// False: a conflict.
template <typename T>
bool MergePart(const T* base, const T& mine, const T& theirs, T& result) {
  result = base != nullptr && theirs == *base ? mine : theirs;
  return mine == theirs || (base != nullptr && (mine == *base || theirs == *base));
}

bool MergeSlot(const Slot& base, const Slot& mine, const Slot& theirs, Slot& result) {
  result = theirs == base ? mine : theirs;
  if (mine == theirs || mine == base || theirs == base) return true;
  if (!mine || !theirs || mine->type != theirs->type) return false;
  const bool has_base = base && base->type == mine->type;
  result = mine;
  const bool data =
      MergePart(has_base ? &base->data : nullptr, mine->data, theirs->data, result->data);
  const bool owner =
      MergePart(has_base ? &base->uid : nullptr, mine->uid, theirs->uid, result->uid);
  return data && owner;
}

}  // namespace

ModelMerge MergeTrees(const Tree& base, const Tree& mine, const Tree& theirs) {
  ModelMerge merge;
  std::set<std::string> paths;
  for (const Tree* tree : {&base, &mine, &theirs})
    for (const auto& [path, file] : *tree) paths.insert(path);
  for (const std::string& path : paths) {  // what is above comes first
    Slot result;
    if (!MergeSlot(At(base, path), At(mine, path), At(theirs, path), result))
      merge.conflicts.insert(path);
    if (!result) continue;
    const std::string above = path.substr(0, path.rfind('/'));
    const Slot directory = At(merge.result, above);
    if (!above.empty() && (!directory || directory->type != fs::FileType::kDirectory))
      merge.conflicts.insert(path);
    merge.result[path] = *result;
  }
  return merge;
}

}  // namespace prism::mergetest
