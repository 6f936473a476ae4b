// The seam between file-system operations and the engine: one volume as an ordered map, and chunks.
//
// Implemented by the engine (clone/volume.h); tests may put a std::map behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cow/key.h"
#include "cow/quota.h"
#include "fs/base/error.h"
#include "fs/base/function_ref.h"
#include "fs/base/kept_bytes.h"

namespace prism::cow {

struct VolumeUsage {
  uint64_t inodes = 0;
  uint64_t bytes = 0;
  // What counts against quota.bytes. The bodies of files and the tree around them; if exclusive,
  // what is stored in chunks from `charged_from` on, and what the tree has grown since.
  uint64_t charged_bytes = 0;
  ChunkId charged_from = 0;  // 0: all chunks count
  Quota quota;
};

// A consistent view of one volume's items. The volume cannot change while it lives: keep it short,
// and never hold one across a wait for the journal or another view of the same volume.
class ReadView {
 public:
  virtual ~ReadView() = default;
  // False: no such item (value is then unspecified).
  virtual Result<bool> Get(Key key, std::string& value) const = 0;
  // Visits items of [first, last) in order until the visitor returns false. The value is valid
  // during the visit. The visitor may call Get on the same view.
  virtual Status Scan(Key first, Key last,
                      FunctionRef<bool(Key, std::string_view)> visitor) const = 0;
  // Of the volume, without what a transaction has not committed yet.
  virtual VolumeUsage Usage() const = 0;
};

// A transaction: the only writer of the volume while it lives. Reads see its own changes. Nothing
// happens before Commit; destroying it without Commit leaves everything as it was.
class WriteTransaction : public ReadView {
 public:
  virtual void Put(Key key, std::string value) = 0;  // at most kValueMax bytes
  virtual void Erase(Key key) = 0;                   // absent: nothing
  // All items of [first, last). Not seen by this transaction's own reads of other pending puts in
  // that range: use it on ranges without pending puts.
  virtual void EraseRange(Key first, Key last) = 0;
  // A number never used before in this volume or its ancestors, and never kRootInode.
  virtual InodeId AllocateInode() = 0;
  // Changes of the volume's totals that statfs and `prism show` report: inodes, and logical bytes.
  virtual void AddUsage(int64_t inodes, int64_t bytes) = 0;
  // Applies all, atomically, and appends one journal record; the volume's lock is released. The
  // record is durable when WaitDurable(lsn) has returned. On error nothing has changed.
  // REQUIRES: called at most once, last. Returns 0 when there was nothing to do.
  virtual Result<Lsn> Commit() = 0;
};

class VolumeMap {
 public:
  virtual ~VolumeMap() = default;
  virtual std::unique_ptr<ReadView> Read() = 0;           // shared with other readers
  virtual std::unique_ptr<WriteTransaction> Write() = 0;  // exclusive
  // Returns when all journal records up to lsn are on disk (group commit). kIo: the medium failed;
  // the store then refuses all further changes.
  virtual Status WaitDurable(Lsn lsn) = 0;
  virtual Lsn LastLsn() = 0;  // of this volume's latest transaction
  virtual VolumeUsage Usage() = 0;
  virtual bool read_only() const = 0;
  virtual bool destroyed() const = 0;  // everything is kStale then
  // A stable secret of this volume's lineage, the key of the hash that makes directory cookies.
  virtual std::pair<uint64_t, uint64_t> hash_key() const = 0;
  // The same of one inode's names and attributes, which may have come with another lineage.
  virtual std::pair<uint64_t, uint64_t> hash_key(InodeId) const { return hash_key(); }
  virtual bool read_only(InodeId) const { return read_only(); }
  // The inode came with another tree: what is changed of it is new in this one.
  virtual bool is_grafted(InodeId) const { return false; }
};

// Keeps a chunk from being freed between ChunkStore::Put and the Commit of the transaction that
// refers to it. Movable; destroying it unpins.
class ChunkPin {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void Unpin(ChunkId id) = 0;
  };
  ChunkPin() = default;
  ChunkPin(Owner* owner, ChunkId id, uint8_t stored_kib)
      : owner_(owner), id_(id), stored_kib_(stored_kib) {}
  ChunkPin(ChunkPin&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)),
        id_(other.id_),
        stored_kib_(other.stored_kib_) {}
  ChunkPin& operator=(ChunkPin&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(id_, other.id_);
    std::swap(stored_kib_, other.stored_kib_);
    return *this;
  }
  ~ChunkPin() {
    if (owner_ != nullptr) owner_->Unpin(id_);
  }
  ChunkId id() const { return id_; }
  uint8_t stored_kib() const { return stored_kib_; }  // see Piece

 private:
  Owner* owner_ = nullptr;
  ChunkId id_ = 0;
  uint8_t stored_kib_ = 0;
};

// Bytes wanted of one chunk, from `offset` on; those beyond its end read as zeros.
struct ChunkRead {
  ChunkId id = 0;
  uint32_t offset = 0;
  std::span<std::byte> out;
  // If it is given, the bytes may be left where they are instead, for as long as this has them;
  // else it stays empty, and they are in `out`.
  KeptBytes* kept = nullptr;
};

// Content, stored once: SHA-256 over the whole store.
class ChunkStore {
 public:
  virtual ~ChunkStore() = default;
  // Of each 1..kBlockSize bytes that nobody else can change. Hashes, finds or stores (compressed if
  // that saves space); what is stored together lies together. The bytes are on disk when a journal
  // record that refers to the chunk is durable. kNoSpace when the medium is full.
  using Contents = std::span<const std::span<const std::byte>>;
  virtual Result<std::vector<ChunkPin>> PutAll(Contents contents) = 0;
  Result<ChunkPin> Put(std::span<const std::byte> data) {
    PRISM_ASSIGN(std::vector<ChunkPin> pins, PutAll({&data, 1}));
    return std::move(pins.front());
  }
  // Together, so that what lies together on the medium is read in one go. kCorrupt: some did not
  // verify (logged with the chunk's id; the caller logs volume and inode).
  virtual Status ReadAll(std::span<const ChunkRead> reads) = 0;
  Status Read(ChunkId id, uint32_t offset, std::span<std::byte> out) {
    const ChunkRead one{id, offset, out};
    return ReadAll({&one, 1});
  }
  virtual uint64_t FreeBytes() = 0;  // what the medium can still take
};

}  // namespace prism::cow
