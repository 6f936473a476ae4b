#include "cow/engine.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <shared_mutex>

#include "cow/file.h"
#include "cow/overlay_kv.h"
#include "cow/record.h"
#include "cow/store_directory.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr const char* kSuperblockKey = "superblock";
constexpr const char* kDeadKey = "dead";

// A checkpoint begins when one of these is reached (or its interval has passed); changes wait when
// kAdmitFactor times as much has gathered.
constexpr size_t kDirtyNodesMax = 16384;
constexpr size_t kPendingChunksMax = 100000;
constexpr size_t kPendingReferencesMax = 500000;
constexpr uint64_t kJournalBytesMax = uint64_t{128} << 20;
constexpr size_t kAdmitFactor = 4;
constexpr size_t kJournalBufferMax = 8u << 20;

}  // namespace

Engine::Engine(const EngineOptions& options, std::unique_ptr<Kv> kv, bool read_only)
    : options_(options),
      read_only_(read_only),
      kv_(std::move(kv)),
      segments_(options.directory + "/segments", read_only),
      journal_(
          options.directory + "/journal", [this] { return segments_.Sync(); }, read_only),
      nodes_(*kv_, options.node_cache_bytes),
      references_(*kv_),
      chunks_(*kv_, segments_, journal_, gate_, {options.codec, options.chunk_cache_bytes}),
      forest_(nodes_, references_, chunks_) {}

Outcome<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  PRISM_ASSIGN(int lock, LockStoreDirectory(options.directory));
  RocksOptions rocks;
  rocks.directory = options.directory + "/db";
  Outcome<std::unique_ptr<Kv>> kv = OpenRocksKv(rocks);
  if (!kv) {
    ::close(lock);
    return tl::unexpected(kv.error());
  }
  std::unique_ptr<Engine> engine(new Engine(options, std::move(*kv), false));
  engine->lock_descriptor_ = lock;
  PRISM_TRY(engine->Load());
  return engine;
}

Outcome<std::unique_ptr<Engine>> Engine::OpenToLook(const EngineOptions& options,
                                                    std::unique_ptr<OverlayKv> tables) {
  std::unique_ptr<Engine> engine(new Engine(options, std::move(tables), true));
  PRISM_TRY(engine->Load());
  return engine;
}

Engine::~Engine() {
  {
    std::lock_guard lock(wake_mutex_);
    stopping_ = true;
  }
  wake_checkpoints_.notify_all();
  wake_reaper_.notify_all();
  admitted_.notify_all();
  if (checkpoint_thread_.joinable()) checkpoint_thread_.join();
  if (reaper_thread_.joinable()) reaper_thread_.join();
  if (owner_ != nullptr && !failed() && !read_only_) (void)Checkpoint();
  kv_.reset();
  if (lock_descriptor_ >= 0) ::close(lock_descriptor_);
}

std::string Engine::EncodeSuperblock(Lsn cut) const {
  std::string value;
  ByteWriter writer(value);
  writer.Put(kStoreFormat);
  writer.Put(nodes_.next_id());
  writer.Put(nodes_.live_count());
  writer.Put(chunks_.next_id());
  writer.Put(cut);
  return value;
}

Outcome<void> Engine::Load() {
  auto damaged = [&](std::string_view what) {
    return Explain(Err::kCorrupt, "the store in {} is damaged: {}", options_.directory, what);
  };
  std::string value;
  Result<bool> found = kv_->Get(Table::kMeta, kSuperblockKey, value);
  if (!found) return damaged("its superblock cannot be read");
  if (*found) {
    ByteReader reader(value);
    if (reader.Get<uint32_t>() != kStoreFormat)
      return damaged("its superblock is of another format");
    uint64_t next_node = reader.Get<uint64_t>();
    uint64_t live_nodes = reader.Get<uint64_t>();
    nodes_.Restore(next_node, live_nodes);
    chunks_.RestoreNextId(reader.Get<uint64_t>());
    cut_ = reader.Get<uint64_t>();
    if (!reader.Finished()) return damaged("its superblock has the wrong length");
  }
  found = kv_->Get(Table::kMeta, kDeadKey, value);
  if (!found) return damaged("the list of dropped trees cannot be read");
  if (*found) {
    ByteReader reader(value);
    while (reader.remaining() >= sizeof(NodeId)) dead_.push_back(reader.Get<NodeId>());
  }
  if (!chunks_.Load()) return damaged("the chunk table; the log names the row");
  return {};
}

Outcome<void> Engine::Recover(RootOwner& owner) {
  owner_ = &owner;
  uint64_t records = 0;
  Status replayed = journal_.Replay(cut_, [&](Lsn lsn, std::string_view payload) -> Status {
    ByteReader reader(payload);
    RecordType type = reader.Get<RecordType>();
    payload.remove_prefix(std::min<size_t>(payload.size(), 1));
    ++records;
    if (type == RecordType::kChunk) return chunks_.ReplayRecord(payload);
    return owner_->ReplayRecord(static_cast<uint8_t>(type), payload, lsn);
  });
  if (!replayed) {
    failed_ = true;  // no checkpoint of what is half replayed
    return Explain(replayed.error(), "the journal of {} cannot be replayed after record {}: {}",
                   options_.directory, journal_.last_lsn(), NameOf(replayed.error()));
  }
  if (read_only_) {
    if (!Checkpoint()) return Explain(Err::kIo, "what was replayed cannot be gathered");
    return {};
  }
  // The names of db/, journal/ and segments/: what is synced inside of them is found again by
  // these.
  if (!SyncDirectory(options_.directory))
    return Explain(Err::kIo, "{} cannot be synced", options_.directory);
  segments_.RemoveUnused();
  last_cut_ = cut_;
  if (records > 0) {
    spdlog::info("recovered {} operations from the journal", records);
    if (!Checkpoint()) return Explain(Err::kIo, "the checkpoint after recovery failed");
  }
  journal_.Start();
  checkpoint_thread_ = std::thread([this] { RunCheckpoints(); });
  reaper_thread_ = std::thread([this] { RunReaper(); });
  return {};
}

Status Engine::Admit() {
  if (failed()) return Fail(Err::kIo);
  if (journal_.buffered_bytes() > kJournalBufferMax)
    PRISM_TRY(journal_.WaitDurable(journal_.last_lsn()));
  auto too_much = [this] {
    return nodes_.dirty_count() > kAdmitFactor * kDirtyNodesMax ||
           chunks_.pending() > kAdmitFactor * kPendingChunksMax;
  };
  if (!too_much()) [[likely]]
    return {};
  std::unique_lock lock(wake_mutex_);
  wake_checkpoints_.notify_all();
  admitted_.wait(lock, [&] { return stopping_ || failed() || !too_much(); });
  return failed() ? Status(Fail(Err::kIo)) : Status();
}

void Engine::AddDead(NodeId root) {
  {
    std::lock_guard lock(dead_mutex_);
    dead_.push_back(root);
  }
  wake_reaper_.notify_one();
}

size_t Engine::dead_count() const {
  std::lock_guard lock(dead_mutex_);
  return dead_.size();
}

Status Engine::Checkpoint() {
  std::lock_guard lock(checkpoint_mutex_);
  if (failed()) return Fail(Err::kIo);
  Status status = WriteCheckpoint();
  if (!status) {
    spdlog::critical("checkpoint failed ({}): no more changes are accepted until a restart",
                     NameOf(status.error()));
    failed_ = true;
  }
  { std::lock_guard wake(wake_mutex_); }
  admitted_.notify_all();
  return status;
}

Status Engine::WriteCheckpoint() {
  NodeStore::Frozen frozen;
  Lsn cut;
  std::string superblock;
  std::string dead;
  {
    std::unique_lock gate(gate_);
    cut = journal_.last_lsn();
    frozen = nodes_.Freeze();
    references_.Freeze();
    chunks_.Freeze();
    owner_->Freeze();
    superblock = EncodeSuperblock(cut);
    std::lock_guard lock(dead_mutex_);
    ByteWriter writer(dead);
    for (NodeId id : dead_) writer.Put(id);
    reaped_since_cut_ = false;
  }
  PRISM_TRY(journal_.WaitDurable(cut));
  PRISM_TRY(segments_.SyncAll());  // the bytes of every chunk whose row is about to be written
  std::unique_ptr<KvBatch> batch = kv_->NewBatch();
  NodeStore::Write(frozen, *batch);
  PRISM_TRY(references_.Write(*batch));
  PRISM_TRY(chunks_.Write(*batch));
  owner_->Write(*batch);
  batch->Put(Table::kMeta, kSuperblockKey, superblock);
  batch->Put(Table::kMeta, kDeadKey, dead);
  PRISM_TRY(kv_->Write(*batch));
  nodes_.Durable(frozen);
  references_.Durable();
  chunks_.Durable();
  cut_ = cut;
  last_cut_ = cut;
  ++checkpoint_count_;
  return journal_.Trim(cut);
}

bool Engine::CheckpointDue() {
  return nodes_.dirty_count() >= kDirtyNodesMax || chunks_.pending() >= kPendingChunksMax ||
         references_.pending() >= kPendingReferencesMax ||
         journal_.bytes_since_trim() >= kJournalBytesMax;
}

void Engine::RunCheckpoints() {
  using Clock = std::chrono::steady_clock;
  auto interval = std::chrono::milliseconds(options_.checkpoint_interval_ms);
  Clock::time_point last = Clock::now();
  std::unique_lock lock(wake_mutex_);
  while (!stopping_) {
    wake_checkpoints_.wait_for(lock, std::chrono::milliseconds(50));
    if (stopping_ || failed()) continue;
    bool changed = journal_.last_lsn() != last_cut_ || reaped_since_cut_;
    if (!CheckpointDue() && !(changed && Clock::now() - last >= interval)) continue;
    lock.unlock();
    (void)Checkpoint();  // a failure has been logged and is kept in failed_
    lock.lock();
    last = Clock::now();
  }
}

void Engine::RunReaper() {
  std::unique_lock lock(wake_mutex_);
  while (!stopping_) {
    lock.unlock();
    bool more = !failed() && Admit().has_value() && ReapSome();
    lock.lock();
    if (!more) wake_reaper_.wait_for(lock, std::chrono::milliseconds(100));
  }
}

// A bounded step, so that a cut never waits long for the gate.
bool Engine::ReapSome() {
  constexpr int kStep = 64;
  std::shared_lock gate(gate_);
  for (int i = 0; i < kStep; ++i) {
    NodeId id;
    {
      std::lock_guard lock(dead_mutex_);
      if (dead_.empty()) return false;
      id = dead_.back();
      dead_.pop_back();
    }
    reaped_since_cut_ = true;
    std::vector<NodeId> orphans;
    if (!forest_.DropReference(id, orphans))
      spdlog::error("what only node {} referred to stays allocated", id);
    std::lock_guard lock(dead_mutex_);
    dead_.insert(dead_.end(), orphans.begin(), orphans.end());
  }
  return true;
}

Status Engine::Drain() {
  while (dead_count() > 0) {
    if (failed()) return Fail(Err::kIo);
    wake_reaper_.notify_one();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // The first records that nothing refers to the last chunks; were any of them still pinned at its
  // cut, the second removes them.
  PRISM_TRY(Checkpoint());
  return Checkpoint();
}

}  // namespace prism::cow
