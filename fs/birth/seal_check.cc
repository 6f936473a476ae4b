#include "fs/birth/seal_check.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "fs/birth/volume_path.h"

namespace prism::birth {
namespace {

// Entries of a directory that are kept at a time: many, but not on each level of a deep tree.
constexpr size_t kBatch = 512;
constexpr size_t kDeep = 64;
constexpr size_t kDeepBatch = 8;
constexpr size_t kLinkedMax = 1 << 20;  // files of several names that are remembered

class Check {
 public:
  Check(fs::FileSystem& cut, const SecretPatterns& patterns)
      : cut_(cut), patterns_(patterns), buffer_(fs::kIoMax, '\0') {}

  Outcome<SealReport> Run();

 private:
  struct Entry {
    std::string name;
    fs::Attr attr;
  };
  struct Level {
    InodeId dir = 0;
    uint64_t cookie = 0;
    size_t path_bytes = 0;  // of path_, of this directory
    std::vector<Entry> entries;
    size_t next = 0;  // of them
  };

  Status ListMore(Level& level, size_t batch);
  Outcome<void> Look(const fs::Attr& attr);
  Status LookInside(const fs::Attr& attr, SecretPatterns::Task task);
  Status LookAtExtent(InodeId ino, uint64_t begin, uint64_t end, SecretPatterns::Task& task,
                      uint64_t& lines);
  void Report(size_t rule, uint64_t line);

  fs::FileSystem& cut_;
  const SecretPatterns& patterns_;
  std::string path_;
  std::string buffer_;  // bytes kept of the piece before, then a piece
  std::unordered_set<InodeId> linked_;
  SealReport report_;
  size_t told_bytes_ = 0;  // of the findings' paths
};

Status Check::ListMore(Level& level, size_t batch) {
  level.entries.clear();
  level.next = 0;
  PRISM_TRY(cut_.Readdir(kSystem, level.dir, level.cookie, true, [&](const fs::DirEntry& entry) {
    level.entries.push_back({std::string(entry.name), *entry.attr});
    level.cookie = entry.cookie;
    return level.entries.size() < batch;
  }));
  return {};
}

// Depth first, going on in each directory behind what was seen of it, so that little but the way
// down is kept.
Outcome<SealReport> Check::Run() {
  std::vector<Level> levels{{kRootInode}};
  while (!levels.empty()) {
    Level& level = levels.back();
    path_.resize(level.path_bytes);
    if (level.next == level.entries.size()) {
      const Status listed = ListMore(level, levels.size() < kDeep ? kBatch : kDeepBatch);
      if (!listed)
        return Explain(listed.error(), "{}/ cannot be listed: {}", path_, NameOf(listed.error()));
      if (level.entries.empty()) levels.pop_back();
      continue;
    }
    const Entry& entry = level.entries[level.next++];
    path_.append("/").append(entry.name);
    if (path_.size() > kPathBytesMax)
      return Explain(Err::kNameTooLong, "a path has more than {} bytes, below {}", kPathBytesMax,
                     path_.substr(0, 256));
    if (entry.attr.type == fs::FileType::kDirectory)
      levels.push_back({entry.attr.ino, 0, path_.size()});  // `entry` is gone
    else
      PRISM_TRY(Look(entry.attr));
  }
  return std::move(report_);
}

Outcome<void> Check::Look(const fs::Attr& attr) {
  if (attr.type != fs::FileType::kRegular || attr.size == 0) return {};
  ++report_.files;
  SecretPatterns::Task task = patterns_.TaskFor(path_);
  for (const size_t rule : task.files) Report(rule, 0);
  if (task.contents.empty()) return {};
  if (attr.nlink > 1) {
    if (linked_.size() >= kLinkedMax) linked_.clear();
    if (!linked_.insert(attr.ino).second)
      std::erase_if(task.contents, [&](size_t rule) {
        return patterns_.rule(rule).paths.empty() && patterns_.rule(rule).except.empty();
      });
    if (task.contents.empty()) return {};
  }
  if (Status looked = LookInside(attr, std::move(task)); !looked)
    return Explain(looked.error(), "{} cannot be read: {}", path_, NameOf(looked.error()));
  return {};
}

Status Check::LookInside(const fs::Attr& attr, SecretPatterns::Task task) {
  uint64_t lines = 1;
  for (uint64_t at = 0; at < attr.size && !task.contents.empty();) {
    // What is not sparse needs no looking for its holes.
    uint64_t end = attr.size;
    if (attr.used_bytes < attr.size) {
      Result<uint64_t> data = cut_.Seek(kSystem, attr.ino, at, fs::SeekWhence::kData);
      if (!data && data.error() == Err::kNoSuchExtent) return {};
      if (!data) return Fail(data.error());
      at = *data;
      PRISM_ASSIGN(end, cut_.Seek(kSystem, attr.ino, at, fs::SeekWhence::kHole));
    }
    PRISM_TRY(LookAtExtent(attr.ino, at, std::min(end, attr.size), task, lines));
    at = end;
  }
  return {};
}

Status Check::LookAtExtent(InodeId ino, uint64_t begin, uint64_t end, SecretPatterns::Task& task,
                           uint64_t& lines) {
  size_t kept = 0;
  for (uint64_t at = begin; at < end && !task.contents.empty();) {
    const size_t wanted = std::min<uint64_t>(end - at, buffer_.size() - kept);
    auto space = std::as_writable_bytes(std::span(buffer_)).subspan(kept, wanted);
    PRISM_ASSIGN(const fs::ReadResult read, cut_.Read(kSystem, ino, at, space));
    if (read.length == 0) return Fail(Err::kIo);  // a cut does not shrink
    at += read.length;
    report_.bytes += read.length;
    const std::string_view bytes(buffer_.data(), kept + read.length);
    for (const size_t rule : patterns_.Match(task, bytes)) {
      const size_t where = patterns_.Find(rule, bytes);
      const auto first = bytes.begin();
      Report(rule, lines + static_cast<uint64_t>(std::count(
                               first, first + static_cast<ptrdiff_t>(std::min(where, bytes.size())),
                               '\n')));
      std::erase(task.contents, rule);
    }
    const size_t keep = at < end ? std::min(kSecretBytesMax, bytes.size()) : 0;
    lines += static_cast<uint64_t>(std::count(bytes.begin(), bytes.end() - keep, '\n'));
    std::memmove(buffer_.data(), bytes.data() + bytes.size() - keep, keep);
    kept = keep;
  }
  return {};
}

void Check::Report(size_t rule, uint64_t line) {
  if (report_.findings.size() >= kFindingsMax || told_bytes_ + path_.size() > kFindingBytesMax) {
    ++report_.more_findings;
    return;
  }
  told_bytes_ += path_.size();
  report_.findings.push_back({path_, rule, line});
}

}  // namespace

Outcome<SealReport> CheckForSecrets(fs::FileSystem& cut, const SecretPatterns& patterns) {
  return Check(cut, patterns).Run();
}

}  // namespace prism::birth
