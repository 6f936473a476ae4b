// What the rows of nfs_bench do: one class for each kind of call. Handles and names are what an
// earlier job has found.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/measure.h"
#include "tests/bench/nfs_load.h"

struct nfs_fh3;

namespace prism::bench {

inline constexpr int kMaxCalls = 16;  // connections times depth, at most

class NullJob : public Job {
 public:
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;
};

// GETATTR of random ones of `handles`.
class GetAttrJob : public Job {
 public:
  explicit GetAttrJob(const std::vector<std::string>& handles) : handles_(handles) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  const std::vector<std::string>& handles_;
  Random random_{11};
};

class AccessJob : public Job {
 public:
  explicit AccessJob(const std::vector<std::string>& handles) : handles_(handles) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  const std::vector<std::string>& handles_;
  Random random_{12};
};

// LOOKUP of random ones of `names`, or of each once; keeps the handles of the latter.
class LookupJob : public Job {
 public:
  LookupJob(const std::string& dir, const std::vector<std::string>& names, bool each_once)
      : dir_(dir), names_(names), each_once_(each_once) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;
  std::vector<std::string> handles;

 private:
  const std::string& dir_;
  const std::vector<std::string>& names_;
  const bool each_once_;
  size_t next_ = 0;
  Random random_{13};
};

// READDIRPLUS from the first entry to the last, again and again by every call.
class ListJob : public Job {
 public:
  explicit ListJob(const std::string& dir) : dir_(dir) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  struct Place {
    uint64_t cookie = 0;
    char verifier[8] = {};
  };
  const std::string& dir_;
  Place places_[kMaxCalls];
};

// READ of whole chunks of a file, in order (each chunk once, shared out) or `limit` ones at random.
class ReadJob : public Job {
 public:
  ReadJob(const std::string& file, uint64_t size_bytes, uint32_t chunk_bytes, bool in_order,
          uint64_t limit = UINT64_MAX)
      : file_(file),
        chunks_(size_bytes / chunk_bytes),
        chunk_bytes_(chunk_bytes),
        in_order_(in_order),
        left_(in_order ? chunks_ : limit) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  const std::string& file_;
  const uint64_t chunks_;
  const uint32_t chunk_bytes_;
  const bool in_order_;
  uint64_t left_;
  uint64_t next_ = 0;
  Random random_{14};
};

// Unstable WRITEs in order over a file for each call, round and round, and after each `commit_each`
// of them, and at the end, a COMMIT, which is not counted as an operation but is in its time. No
// two chunks alike.
class WriteJob : public Job {
 public:
  WriteJob(const std::vector<std::string>& files, uint64_t size_bytes, uint32_t chunk_bytes,
           uint64_t commit_each);
  // Ends when each call has written its file once, instead of going round.
  void Once() { once_ = true; }
  bool Send(Call& call) override;
  bool Finish(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  struct Place {
    uint64_t written = 0;
    uint64_t uncommitted = 0;
    bool committing = false;
  };
  const std::vector<std::string>& files_;
  const uint64_t chunks_;
  const uint64_t commit_each_;
  bool once_ = false;
  std::vector<char> data_;
  uint64_t stamp_;
  Place places_[kMaxCalls];
};

// CREATE (guarded) of up to `limit` new files; names() are those made. `prefix` makes them new.
class CreateJob : public Job {
 public:
  CreateJob(const std::string& dir, std::string prefix, size_t limit)
      : dir_(dir), prefix_(std::move(prefix)), limit_(limit) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;
  std::vector<std::string> names;

 private:
  const std::string& dir_;
  const std::string prefix_;
  const size_t limit_;
};

class RemoveJob : public Job {
 public:
  RemoveJob(const std::string& dir, const std::vector<std::string>& names)
      : dir_(dir), names_(names) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  const std::string& dir_;
  const std::vector<std::string>& names_;
  size_t next_ = 0;
};

// MKDIR; one that exists is fine.
class MakeDirJob : public Job {
 public:
  MakeDirJob(const std::string& dir, std::string name) : dir_(dir), name_(std::move(name)) {}
  bool Send(Call& call) override;
  uint64_t Receive(Call& call, void* reply) override;

 private:
  const std::string& dir_;
  std::string name_;
  bool sent_ = false;
};

}  // namespace prism::bench
