// Requests that clients have named by keys, and their first answers: who repeats one, because the
// answer was lost on the way, gets the same answer and nothing happens twice.
//
// A request and what it did are one journal record, so both are there after a crash or neither is.
// The latest are kept, kRequestsMax and kAnswerBytesMax at most; an older key is as good as new.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "clone/records.h"
#include "cow/kv.h"
#include "fs/base/failure.h"

namespace prism::clone {

inline constexpr size_t kRequestKeyMax = 128;  // bytes of a key
inline constexpr size_t kRequestsMax = 1024;
inline constexpr size_t kAnswerBytesMax = size_t{8} << 20;

struct Request {
  std::string key;  // empty: the client has named none
  uint64_t checksum = 0;
};
// `what` is all that was asked: verb and arguments. kInvalid: the key is too long.
Outcome<Request> NameRequest(std::string_view key, std::string_view verb,
                             const std::vector<std::string>& arguments);

struct RequestRecord {  // RecordType::kRequest
  std::string key;
  uint64_t checksum = 0;
  std::vector<VolumeRow> answer;  // their names are whole
  std::string done;               // the record of what was done, with its type

  std::string Encode() const;
  static Result<RequestRecord> Decode(std::string_view payload);
};

// Guarded by the catalog's lock; changed with the gate held.
class RequestTable {
 public:
  struct Done {
    uint64_t checksum = 0;
    std::vector<VolumeRow> answer;
    Lsn lsn = 0;  // the answer may be told when this is durable
  };
  const Done* Find(std::string_view key) const;
  void Add(const RequestRecord& record, Lsn lsn);

  // Rows of the meta table.
  Status Load(cow::Kv& kv);
  void Freeze();  // with the gate held exclusively
  void Write(cow::KvBatch& batch);

 private:
  struct Kept {
    uint64_t sequence = 0;  // its row
    std::string key;
    std::string row;
  };
  void Insert(Kept kept, Done done);

  std::deque<Kept> kept_;  // the oldest first
  size_t kept_bytes_ = 0;
  std::unordered_map<std::string, Done> done_;
  uint64_t next_ = 1;

  std::vector<std::pair<uint64_t, std::string>> added_;
  std::vector<uint64_t> dropped_;
  std::vector<std::pair<uint64_t, std::string>> frozen_added_;
  std::vector<uint64_t> frozen_dropped_;
};

}  // namespace prism::clone
