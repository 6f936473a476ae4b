#include "tests/model/random_compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "clone/composition.h"
#include "fs/base/check.h"

namespace prism::model {
namespace {

// Times that were set explicitly are far from the clock's (DrawTime).
bool IsClock(const fs::Timespec& time) { return time.sec > 1000000000; }
bool SameTime(const fs::Timespec& a, const fs::Timespec& b) {
  return a == b || (IsClock(a) && IsClock(b));
}

// Access times are lazy: a reading may still be missing, or one more may have counted.
bool SameAtime(const fs::Timespec& a, const fs::Timespec& b) {
  return a == b || IsClock(a) || IsClock(b);
}

}  // namespace

void Pair::Attach(std::shared_ptr<fs::FileSystem> model, std::shared_ptr<fs::FileSystem> real) {
  model_ = std::move(model);
  real_ = std::move(real);
  if (!handles_.empty()) return;
  fs::Attr root;
  root.ino = kRootInode;
  root.type = fs::FileType::kDirectory;
  AddHandle(root, root);
}

void Pair::Detach() {
  model_.reset();
  real_.reset();
  for (Handle& handle : handles_) handle.gone |= handle.orphan;
}

Pair Pair::CloneAs(std::string name) const {
  Pair clone(std::move(name), way_);
  clone.handles_ = handles_;
  clone.by_model_ = by_model_;
  clone.by_real_ = by_real_;
  clone.hints_ = hints_;
  clone.foreign_ = foreign_;
  clone.has_read_only_ = has_read_only_;
  clone.Detach();
  return clone;
}

// Every number that was ever known is asked about further on: those that are gone must be stale.
void Pair::RollBackTo(const Pair& snapshot) {
  for (const Handle& handle : snapshot.handles_)
    if (!by_model_.contains(handle.model)) {
      by_model_[handle.model] = by_real_[handle.real] = handles_.size();
      handles_.push_back(handle);
    }
  hints_ = snapshot.hints_;
  for (Handle& handle : handles_) handle.model_change = handle.real_change = 0;  // went back
}

void Pair::NoteGone() {
  for (Handle& handle : handles_) {
    auto attr = model_->Getattr({}, handle.model);
    handle.gone = !attr;
    handle.orphan = attr && attr->nlink == 0;
  }
}

std::string Pair::Discover() {
  Operation list;
  list.kind = OpKind::kReaddir;
  list.with_attr = true;
  std::vector<size_t> left{0};
  for (size_t at = 0; at < left.size(); ++at) {
    const Handle dir = handles_[left[at]];
    const Reply model = Perform(*model_, list, dir.model, 0);
    const Reply real = Perform(*real_, list, dir.real, 0);
    if (model.err != real.err || model.text != real.text)
      return fmt::format("listing '{}', inode {} (model), {} (store): {} [{}], {} [{}]", name_,
                         dir.model, dir.real, NameOf(model.err), model.text, NameOf(real.err),
                         real.text);
    size_t name = 0;
    for (size_t i = 0; i < model.attrs.size(); ++i) {
      const fs::Attr& attr = model.attrs[i];
      const size_t end = model.text.find('\n', name);
      const bool is_directory = attr.type == fs::FileType::kDirectory;
      if (!by_model_.contains(attr.ino)) AddHandle(attr, real.attrs[i]);
      hints_.push_back({dir.model, {0, model.text.substr(name, end - name), is_directory}});
      if (is_directory) left.push_back(by_model_.at(attr.ino));
      name = end + 1;
    }
  }
  NoteGone();
  return {};
}

void Pair::AddForeign(const Pair& other, uint32_t prefixes) {
  for (const Handle& handle : other.handles_)
    for (uint32_t prefix = 0; prefix <= prefixes; ++prefix)
      foreign_.insert(handle.real + (InodeId{prefix} << clone::kPrefixShift));
  for (const Handle& handle : handles_) foreign_.erase(handle.real);
}

void Pair::AddHandle(const fs::Attr& model, const fs::Attr& real) {
  by_model_[model.ino] = by_real_[real.ino] = handles_.size();
  handles_.push_back({model.ino, real.ino, model.type});
}

void Pair::DropGone() {
  auto gone = [](const Handle& handle) { return handle.gone; };
  if (std::count_if(handles_.begin(), handles_.end(), gone) < 20) return;
  std::erase_if(handles_, gone);
  by_model_.clear();
  by_real_.clear();
  for (size_t i = 0; i < handles_.size(); ++i)
    by_model_[handles_[i].model] = by_real_[handles_[i].real] = i;
}

Choices Pair::Offer(Random& random) const {
  Choices choices;
  for (size_t i = 0; i < handles_.size(); ++i) {
    const Handle& handle = handles_[i];
    if (handle.gone && !random.OneIn(50)) continue;
    choices.any.push_back(i);
    if (handle.orphan && !handle.gone) choices.orphans.push_back(i);
    if (handle.type == fs::FileType::kDirectory) choices.directories.push_back(i);
    if (handle.type == fs::FileType::kRegular) choices.files.push_back(i);
  }
  if (choices.files.empty()) choices.files.push_back(0);
  for (const auto& [directory, hint] : hints_) {
    auto found = by_model_.find(directory);
    if (found == by_model_.end()) continue;
    choices.entries.push_back(hint);
    choices.entries.back().directory = found->second;
  }
  return choices;
}

std::string Pair::Step(const Operation& op) {
  const Handle target = handles_[op.target], other = handles_[op.other];
  Reply real = Perform(*real_, op, target.real, other.real);
  Operation for_model = op;
  if (op.kind == OpKind::kCopyRange && real.err == Err::kOk && real.number > 0) {
    auto source = model_->Getattr({}, target.model);
    if (!source) return "the store copied from what is not there";
    uint64_t left = source->size - std::min(source->size, op.offset);
    if (real.number < std::min(op.length, left)) for_model.length = real.number;
  }
  Reply model = Perform(*model_, for_model, target.model, other.model);
  Learn(op, model, real);
  return Compare(op, model, real);
}

void Pair::Learn(const Operation& op, const Reply& model, const Reply& real) {
  LearnNames(op, model);
  if (model.err != Err::kOk || real.err != Err::kOk) return;
  if (op.kind == OpKind::kCreate && model.created && real.created)
    AddHandle(model.attrs[0], real.attrs[0]);
  if (op.kind == OpKind::kRelease) handles_[op.target].gone = true;
  for (const fs::Attr& attr : model.attrs)
    if (attr.nlink == 0 && by_model_.contains(attr.ino) && op.kind != OpKind::kReaddir) {
      Handle& handle = handles_[by_model_[attr.ino]];
      handle.orphan = true;
      // Nobody holds a file over NFS.
      if (way_ == Way::kNfs) handle.gone = model_->Release({}, attr.ino).has_value();
    }
}

void Pair::LearnNames(const Operation& op, const Reply& model) {
  InodeId target = handles_[op.target].model;
  bool renamed = op.kind == OpKind::kRename && model.err == Err::kOk;
  bool removed = op.kind == OpKind::kUnlink || op.kind == OpKind::kRmdir;
  if (renamed || (removed && (model.err == Err::kOk || model.err == Err::kNoEntry)))
    std::erase_if(hints_, [&](const auto& hint) {
      return hint.first == target && hint.second.name == op.name;
    });
  bool made = op.kind == OpKind::kCreate || op.kind == OpKind::kLink;
  if (model.err != Err::kOk || !(made || renamed)) return;
  bool is_directory = model.attrs[0].type == fs::FileType::kDirectory;
  InodeId directory = renamed ? handles_[op.other].model : target;
  hints_.push_back({directory, {0, renamed ? op.other_name : op.name, is_directory}});
  if (hints_.size() > 300) hints_.erase(hints_.begin());
}

std::string Pair::Compare(const Operation& op, const Reply& model, const Reply& real) {
  if (op.kind == OpKind::kSeek && (real.err == Err::kOk || real.err == Err::kNoSuchExtent) &&
      (model.err == Err::kOk || model.err == Err::kNoSuchExtent))
    return CheckSeek(op, real);
  // On other ways than the contract's an operation is several, of which any may fail first.
  if (way_ != Way::kContract && model.err != Err::kOk && real.err != Err::kOk) return {};
  // The kernel asks nobody to copy what is not there, or to rename a file to what it is.
  const bool does_nothing = (op.kind == OpKind::kCopyRange && real.number == 0) ||
                            (op.kind == OpKind::kRename && real.attrs.size() == 5 &&
                             real.attrs[1] == real.attrs[2] && real.attrs[3] == real.attrs[4]);
  if (way_ == Way::kMount && does_nothing && model.err == Err::kReadOnly) return {};
  if (has_read_only_ && real.err == Err::kReadOnly && model.err != Err::kOk) return {};
  if (model.err != real.err)
    return fmt::format("the model says {}, the store {}", NameOf(model.err), NameOf(real.err));
  if (model.text != real.text)
    return fmt::format("replies of {} and {} bytes differ: model [{}] store [{}]",
                       model.text.size(), real.text.size(), model.text.substr(0, 200),
                       real.text.substr(0, 200));
  if (model.number != real.number)
    return fmt::format("the model says {}, the store {}", model.number, real.number);
  if (model.attrs.size() != real.attrs.size()) return "one reply has more attributes";
  for (size_t i = 0; i < model.attrs.size(); ++i) {
    std::string difference = CompareAttr(model.attrs[i], real.attrs[i]);
    if (difference.empty() && op.kind == OpKind::kGetattr &&
        !SameAtime(model.attrs[i].atime, real.attrs[i].atime))
      difference = fmt::format("atime of inode {}: model {}, store {}", model.attrs[i].ino,
                               model.attrs[i].atime.sec, real.attrs[i].atime.sec);
    if (!difference.empty()) return fmt::format("attributes {}: {}", i, difference);
  }
  return {};
}

std::string Pair::CompareAttr(const fs::Attr& model, const fs::Attr& real) {
  auto found = by_model_.find(model.ino);
  if (found == by_model_.end()) return fmt::format("the model made up inode {}", model.ino);
  Handle& handle = handles_[found->second];
  if (handle.real != real.ino) return fmt::format("inode {} should be {}", real.ino, handle.real);
  auto differ = [&](const char* what, auto a, auto b) {
    return fmt::format("{} of inode {}: model {}, store {}", what, model.ino, a, b);
  };
  if (model.type != real.type)
    return differ("type", static_cast<int>(model.type), static_cast<int>(real.type));
  if (model.mode != real.mode) return differ("mode", model.mode, real.mode);
  if (model.nlink != real.nlink) return differ("nlink", model.nlink, real.nlink);
  if (model.uid != real.uid) return differ("uid", model.uid, real.uid);
  if (model.gid != real.gid) return differ("gid", model.gid, real.gid);
  if (model.size != real.size) return differ("size", model.size, real.size);
  if (model.rdev_major != real.rdev_major || model.rdev_minor != real.rdev_minor)
    return differ("device", model.rdev_minor, real.rdev_minor);
  if (!SameTime(model.mtime, real.mtime)) return differ("mtime", model.mtime.sec, real.mtime.sec);
  if (!SameTime(model.ctime, real.ctime)) return differ("ctime", model.ctime.sec, real.ctime.sec);
  if (way_ != Way::kContract) return {};  // btime and change are not told
  if (!SameTime(model.btime, real.btime)) return differ("btime", model.btime.sec, real.btime.sec);
  // The store's number may grow more often than the model's, but never less.
  if (model.change > handle.model_change && real.change <= handle.real_change &&
      handle.model_change != 0)
    return differ("change did not grow", model.change, real.change);
  if (model.change >= handle.model_change) {
    handle.model_change = model.change;
    handle.real_change = real.change;
  }
  return {};
}

// Judged by the model's content alone: what is skipped as a hole must be zeros, what is called a
// hole must begin with one.
std::string Pair::CheckSeek(const Operation& op, const Reply& real) {
  InodeId ino = handles_[op.target].model;
  auto attr = model_->Getattr({}, ino);
  if (!attr) return "the store seeks in what is not there";
  bool past_end = op.offset >= attr->size;
  if (past_end) return real.err == Err::kNoSuchExtent ? "" : "Seek beyond the end found something";
  bool for_data = op.flags == static_cast<uint32_t>(fs::SeekWhence::kData);
  if (!for_data && real.err != Err::kOk) return "no hole, not even the end";
  uint64_t found = real.err == Err::kOk ? real.number : attr->size;
  if (found < op.offset || found > attr->size ||
      (for_data && real.err == Err::kOk && found == attr->size))
    return fmt::format("Seek from {} of {} found {}", op.offset, attr->size, found);
  uint64_t first = for_data ? op.offset : found;
  uint64_t last = for_data ? found : std::min(attr->size, found + 1);
  while (first < last) {
    auto data = model_->Seek({}, ino, first, fs::SeekWhence::kData);
    if (!data || *data >= last) return {};
    std::byte buffer[4096];
    size_t length = std::min<uint64_t>(sizeof buffer, last - *data);
    PRISM_CHECK(model_->Read({}, ino, *data, std::span(buffer, length)).has_value());
    for (size_t i = 0; i < length; ++i)
      if (buffer[i] != std::byte{0}) return fmt::format("data at {} was called a hole", *data + i);
    first = *data + length;
  }
  return {};
}

}  // namespace prism::model
