// Recounts what the tables of a store say: every node, reference, chunk and fingerprint, each once.
//
// Reads the tables alone, and none of the engine's code runs on what they hold, so that damage is
// reported and not run into. Memory: some 50 bytes for each node and chunk.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cow/check_report.h"
#include "cow/chunk_row.h"
#include "cow/kv.h"
#include "cow/node.h"
#include "cow/tree.h"
#include "fs/base/function_ref.h"

namespace prism::cow {

// Stored bytes of chunks that the journal holds, to be written to their places by the next server.
using CarriedChunks = std::unordered_map<ChunkId, std::string>;

// THREADS: one. Errors of the methods: the tables cannot be read (kIo); damage goes to the report.
class StoreCheck {
 public:
  // `tables` do not change meanwhile: a snapshot, or nobody else has the store. `carried`, if any,
  // outlives this.
  StoreCheck(Kv& tables, std::string segments_directory, const CarriedChunks* carried,
             CheckReport& report)
      : tables_(tables),
        segments_directory_(std::move(segments_directory)),
        carried_(carried),
        report_(report) {}

  // `roots`: what refers to trees, each as often as it counts; those of dead trees are found here.
  Status Recount(std::span<const NodeId> roots);

  // After Recount: reads all chunks. One that does not verify is damaged only if `is_current` says
  // that its row is still the same: the store may have given its place away meanwhile.
  Status VerifyData(FunctionRef<bool(ChunkId, const ChunkRow&)> is_current);

  // Chunks that are missing or do not verify.
  const std::unordered_set<ChunkId>& bad_chunks() const { return bad_chunks_; }

  // Visits one tree's items in order, and counts them. False: some could not be reached; why is in
  // the report, with `name`.
  using Visitor = FunctionRef<void(Key, std::string_view)>;
  bool WalkTree(std::string_view name, NodeId root, ChunkId own_from, TreeUsage& usage,
                Visitor visitor);

 private:
  struct NodeSeen {
    uint32_t references = 0;
    int16_t level = -1;           // -1: there is no such node
    int16_t expected_level = -1;  // what the first parent says; -1: none does
  };
  struct ChunkSeen {
    int64_t references = 0;
    uint8_t stored_kib = 0;
    bool found = false;
  };
  struct Range {
    Key low;
    Key high;
    bool open = true;  // nothing is above
  };
  struct Walk;

  Status ReadSuperblock();
  Status CountNodes();
  void CountPieces(const Node& leaf);
  Status CompareReferences();
  Status CountChunks();
  void CheckChunk(ChunkId id, const ChunkRow& row);
  void CheckPlaces();
  const std::string* Carried(ChunkId id) const;
  Status CheckFingerprints();
  Status Scan(Table table, const char* name,
              FunctionRef<void(std::string_view, std::string_view)> visitor);
  bool WalkBelow(Walk& walk, NodeId id, int level, const Range& range);

  Kv& tables_;
  const std::string segments_directory_;
  const CarriedChunks* const carried_;
  CheckReport& report_;
  // As in a store that has not had a checkpoint.
  uint64_t next_node_ = 1, live_nodes_ = 0, next_chunk_ = 1;
  bool has_superblock_ = false;
  std::unordered_map<NodeId, NodeSeen> nodes_;
  std::unordered_map<ChunkId, ChunkSeen> chunks_;
  std::unordered_set<ChunkId> bad_chunks_;
  struct Place {
    uint32_t segment, unit, units;
    ChunkId chunk;
  };
  std::vector<Place> places_;
};

}  // namespace prism::cow
