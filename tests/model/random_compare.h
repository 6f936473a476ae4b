// Two clients that should be the same volume, and the comparison of what they say.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/model/random_ops.h"
#include "tests/model/random_way.h"

namespace prism::model {

// One inode, by its number on each side.
struct Handle {
  InodeId model = 0;
  InodeId real = 0;
  fs::FileType type = fs::FileType::kRegular;
  uint64_t model_change = 0;
  uint64_t real_change = 0;
  bool orphan = false;
  bool gone = false;
};

class Pair {
 public:
  // way: how `real` is spoken to.
  explicit Pair(std::string name, Way way = Way::kContract) : name_(std::move(name)), way_(way) {}

  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  void Attach(std::shared_ptr<fs::FileSystem> model, std::shared_ptr<fs::FileSystem> real);
  // Both clients go, and so does what only they held.
  void Detach();
  // What a clone made now begins with.
  Pair CloneAs(std::string name) const;
  // Both volumes have become what they were when `snapshot` was made.
  void RollBackTo(const Pair& snapshot);
  // Finds by names what has come to be there without an operation of this pair, and notes of what
  // is known whether it is still there. Empty when both have the same names.
  std::string Discover();
  // Inodes of parts that may not be changed: which error comes first is free then.
  void set_has_read_only() { has_read_only_ = true; }
  // Nothing is freed in it any more: it uses what it used.
  void set_sealed() { sealed_ = true; }
  bool sealed() const { return sealed_; }
  bool has_read_only() const { return has_read_only_; }
  // Numbers of other volumes, as they might be here: those that mean nothing here must stay stale.
  void AddForeign(const Pair& other, uint32_t prefixes);
  bool read_only() const { return name_.find('@') != name_.npos; }
  bool attached() const { return real_ != nullptr; }
  fs::FileSystem& model() { return *model_; }
  fs::FileSystem& real() { return *real_; }

  void AddHandle(const fs::Attr& model, const fs::Attr& real);
  Choices Offer(Random& random) const;
  const Handle& handle(size_t place) const { return handles_[place]; }
  size_t handle_count() const { return handles_.size(); }
  void DropGone();  // forgets handles of inodes that are gone, when they have become many

  // Does it on both sides. Empty when the replies are alike.
  std::string Step(const Operation& operation);
  // Everything: all trees, attributes, extended attributes, contents, orphans, usage. With
  // `settle` everything is written back before, and holes must have become holes.
  std::string Walk(bool settle);

 private:
  std::string Compare(const Operation& operation, const Reply& model, const Reply& real);
  std::string CompareAttr(const fs::Attr& model, const fs::Attr& real);
  std::string CheckSeek(const Operation& operation, const Reply& real);
  void Learn(const Operation& operation, const Reply& model, const Reply& real);
  void NoteGone();
  void LearnNames(const Operation& operation, const Reply& model);
  std::string WalkInode(Handle& handle, bool settled);
  std::string WalkXattrs(const Handle& handle);
  std::string WalkUsage(uint64_t used);
  std::string WalkForeign();
  std::string WalkContent(const Handle& handle, bool settled);

  std::string name_;
  Way way_;
  std::shared_ptr<fs::FileSystem> model_;
  std::shared_ptr<fs::FileSystem> real_;
  std::vector<Handle> handles_;                       // [0] is the root
  std::vector<std::pair<InodeId, EntryHint>> hints_;  // the directory's number in the model
  std::map<InodeId, size_t> by_model_;
  std::map<InodeId, size_t> by_real_;
  std::set<InodeId> foreign_;
  bool has_read_only_ = false;
  bool sealed_ = false;
};

}  // namespace prism::model
