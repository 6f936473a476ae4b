#include "cow/store_check.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <tuple>

#include "cow/extent.h"
#include "cow/file.h"
#include "cow/store_directory.h"

namespace prism::cow {

Status StoreCheck::Scan(Table table, const char* name,
                        FunctionRef<void(std::string_view, std::string_view)> visitor) {
  Status scanned = tables_.Scan(table, [&](std::string_view key, std::string_view value) {
    visitor(key, value);
    return true;
  });
  if (scanned || scanned.error() != Err::kCorrupt) return scanned;
  report_.Say("table {}: some of its rows cannot be read: the log says where", name);
  return {};
}

Status StoreCheck::Recount(std::span<const NodeId> roots) {
  PRISM_TRY(ReadSuperblock());
  for (NodeId root : roots) ++nodes_[root].references;
  PRISM_TRY(CountNodes());
  if (!has_superblock_ && report_.nodes > 0) report_.Say("the superblock is missing");
  PRISM_TRY(CompareReferences());
  PRISM_TRY(CountChunks());
  CheckPlaces();
  return CheckFingerprints();
}

Status StoreCheck::ReadSuperblock() {
  std::string value;
  PRISM_ASSIGN(has_superblock_, tables_.Get(Table::kMeta, "superblock", value));
  if (has_superblock_) {
    ByteReader reader(value);
    const uint32_t format = reader.Get<uint32_t>();
    next_node_ = reader.Get<uint64_t>();
    live_nodes_ = reader.Get<uint64_t>();
    next_chunk_ = reader.Get<uint64_t>();
    reader.Get<uint64_t>();  // the cut
    if (!reader.Finished() || format != kStoreFormat) report_.Say("the superblock does not decode");
  }
  PRISM_ASSIGN(const bool found, tables_.Get(Table::kMeta, "dead", value));
  ByteReader dead(found ? std::string_view(value) : std::string_view());
  while (dead.remaining() >= sizeof(NodeId)) ++nodes_[dead.Get<NodeId>()].references;
  if (!dead.Finished()) report_.Say("the list of dropped trees does not decode");
  return {};
}

Status StoreCheck::CountNodes() {
  return Scan(Table::kNode, "node", [&](std::string_view key, std::string_view value) {
    const NodeId id = IdFromKey(key);
    ++report_.nodes;
    if (id == 0 || id >= next_node_) report_.Say("node {}: its number was never given out", id);
    Result<Node*> decoded = Node::Decode(id, value);
    NodeSeen& seen = nodes_[id];
    if (!decoded) {
      seen.level = seen.expected_level;  // it is there, so it is not missing
      if (seen.level < 0) seen.level = 0;
      return report_.Say("node {}: it does not verify", id);
    }
    const NodePtr node(*decoded);
    seen.level = node->level;
    for (NodeId child : node->children) {
      NodeSeen& below = nodes_[child];
      ++below.references;
      if (below.expected_level < 0) below.expected_level = static_cast<int16_t>(node->level - 1);
    }
    if (node->is_leaf()) CountPieces(*node);
  });
}

void StoreCheck::CountPieces(const Node& leaf) {
  for (size_t i = 0; i < leaf.count(); ++i) {
    const Key key = leaf.keys[i];
    if (key.type() != ItemType::kExtent) continue;
    // In a composed volume: that its part has a block there, which is gone here.
    if (leaf.value(i).empty()) continue;
    Result<std::vector<Piece>> pieces = DecodeExtent(leaf.value(i));
    if (!pieces || pieces->empty()) {
      report_.Say("node {}: block {} of inode {} does not decode", leaf.id, key.lo, key.ino());
      continue;
    }
    for (const Piece& piece : *pieces) {
      ChunkSeen& chunk = chunks_[piece.chunk];
      if (chunk.references++ == 0) chunk.stored_kib = piece.stored_kib;
      if (chunk.stored_kib != piece.stored_kib)
        report_.Say("node {}: block {} of inode {} says that chunk {} takes {} KiB, others say {}",
                    leaf.id, key.lo, key.ino(), piece.chunk, piece.stored_kib, chunk.stored_kib);
    }
  }
}

Status StoreCheck::CompareReferences() {
  std::unordered_map<NodeId, uint32_t> rows;
  PRISM_TRY(Scan(Table::kRef, "ref", [&](std::string_view key, std::string_view value) {
    const NodeId id = IdFromKey(key);
    ByteReader reader(value);
    const uint32_t count = reader.Get<uint32_t>();
    if (!reader.Finished() || count < 2)
      report_.Say("node {}: its count of references does not decode", id);
    rows[id] = count;
  }));
  for (const auto& [id, seen] : nodes_) {
    auto row = rows.find(id);
    const uint32_t counted = row == rows.end() ? 1 : row->second;
    if (seen.level < 0)
      report_.Say("node {}: it is missing, and {} refer to it", id, seen.references);
    else if (seen.references == 0)
      report_.Say("node {}: nothing refers to it", id);
    else if (counted != seen.references)
      report_.Say("node {}: {} references are counted, and there are {}", id, counted,
                  seen.references);
    if (seen.level >= 0 && seen.expected_level >= 0 && seen.level != seen.expected_level)
      report_.Say("node {}: its level is {}, and its parent's {}", id, seen.level,
                  seen.expected_level + 1);
    if (row != rows.end()) rows.erase(row);
  }
  for (const auto& [id, count] : rows)
    report_.Say("node {}: {} references are counted, and there is no such node", id, count);
  if (report_.nodes != live_nodes_)
    report_.Say("the superblock says {} nodes, and there are {}", live_nodes_, report_.nodes);
  return {};
}

Status StoreCheck::CountChunks() {
  PRISM_TRY(Scan(Table::kChunk, "chunk", [&](std::string_view key, std::string_view value) {
    const ChunkId id = IdFromKey(key);
    ++report_.chunks;
    Result<ChunkRow> row = ChunkRow::Decode(value);
    ChunkSeen& seen = chunks_[id];
    seen.found = true;
    if (id == 0 || id >= next_chunk_) report_.Say("chunk {}: its number was never given out", id);
    if (row) return CheckChunk(id, *row);
    report_.Say("chunk {}: its row does not decode", id);
    bad_chunks_.insert(id);
  }));
  for (const auto& [id, seen] : chunks_) {
    if (seen.found) continue;
    report_.Say("chunk {}: it is missing, and {} pieces refer to it", id, seen.references);
    bad_chunks_.insert(id);
  }
  return {};
}

void StoreCheck::CheckChunk(ChunkId id, const ChunkRow& row) {
  const ChunkSeen& seen = chunks_[id];
  if (row.references != seen.references)
    report_.Say("chunk {}: {} references are counted, and there are {}", id, row.references,
                seen.references);
  if (seen.references > 0 && seen.stored_kib != StoredKib(row.extent))
    report_.Say("chunk {}: it takes {} KiB, and pieces say {}", id, StoredKib(row.extent),
                seen.stored_kib);
  places_.push_back({row.extent.segment, row.extent.unit, StoredKib(row.extent), id});
  std::string found;
  const std::string_view hash(reinterpret_cast<const char*>(row.hash.data()), 16);
  Result<bool> known = tables_.Get(Table::kFingerprint, hash, found);
  if (!known || !*known || IdFromKey(found) != id)
    report_.Say("chunk {}: it is not found by its fingerprint", id);
}

// Null: its bytes are nowhere but in its segment.
const std::string* StoreCheck::Carried(ChunkId id) const {
  if (carried_ == nullptr) return nullptr;
  const auto found = carried_->find(id);
  return found == carried_->end() ? nullptr : &found->second;
}

// No two in one place, and each within its segment's file.
void StoreCheck::CheckPlaces() {
  std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) {
    return std::tie(a.segment, a.unit) < std::tie(b.segment, b.unit);
  });
  uint64_t file_bytes = 0;
  bool missing = false;
  for (size_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    if (i == 0 || places_[i - 1].segment != place.segment) {
      std::error_code error;
      const std::string path = fmt::format("{}/{:08}", segments_directory_, place.segment);
      file_bytes = std::filesystem::file_size(path, error);
      missing = static_cast<bool>(error);
    } else if (places_[i - 1].unit + places_[i - 1].units > place.unit) {
      report_.Say("chunk {}: it overlaps chunk {} in segment {}", place.chunk, places_[i - 1].chunk,
                  place.segment);
    }
    if (missing && Carried(place.chunk) == nullptr) {
      report_.Say("segment {}: its file is missing", place.segment);
      missing = false;  // said once
    }
    // The last unit of the last chunk need not be there as a whole.
    if ((uint64_t{place.unit} + place.units - 1) * SegmentStore::kUnitBytes >= file_bytes &&
        Carried(place.chunk) == nullptr) {
      report_.Say("chunk {}: it lies behind the end of segment {}", place.chunk, place.segment);
      bad_chunks_.insert(place.chunk);
    }
  }
}

Status StoreCheck::CheckFingerprints() {
  return Scan(Table::kFingerprint, "fingerprint", [&](std::string_view, std::string_view value) {
    const ChunkId id = IdFromKey(value);
    auto chunk = chunks_.find(id);
    if (chunk == chunks_.end() || !chunk->second.found)
      report_.Say("a fingerprint is of chunk {}, which is not there", id);
  });
}

Status StoreCheck::VerifyData(FunctionRef<bool(ChunkId, const ChunkRow&)> is_current) {
  uint32_t open_segment = 0;
  std::optional<File> file;
  return Scan(Table::kChunk, "chunk", [&](std::string_view key, std::string_view value) {
    const ChunkId id = IdFromKey(key);
    Result<ChunkRow> row = ChunkRow::Decode(value);
    if (!row || bad_chunks_.contains(id)) return;
    const Extent& extent = row->extent;
    if (!file || open_segment != extent.segment) {
      const std::string path = fmt::format("{}/{:08}", segments_directory_, extent.segment);
      Result<File> opened = File::Open(path, O_RDONLY);
      file.reset();
      if (opened) file.emplace(std::move(*opened));
      open_segment = extent.segment;
    }
    std::string stored(extent.length_bytes, '\0');
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(stored));
    const std::string* carried = Carried(id);
    if (carried != nullptr) stored = *carried;
    bool good = (carried != nullptr ||
                 (file && file->ReadAt(uint64_t{extent.unit} * SegmentStore::kUnitBytes, bytes))) &&
                stored.size() == extent.length_bytes && Verifies(row->checksums, 0, bytes);
    std::string raw(row->raw_bytes, '\0');
    const std::span<std::byte> out = std::as_writable_bytes(std::span(raw));
    if (good && row->codec == Codec::kNone) raw = stored;
    if (good && row->codec != Codec::kNone) good = Decompress(row->codec, stored, out).has_value();
    report_.data_bytes += extent.length_bytes;
    if ((good && HashContent(std::as_bytes(std::span(raw))) == row->hash) || !is_current(id, *row))
      return;
    report_.Say("chunk {}: its {} bytes at {} of segment {} do not verify", id, extent.length_bytes,
                uint64_t{extent.unit} * SegmentStore::kUnitBytes, extent.segment);
    bad_chunks_.insert(id);
  });
}

struct StoreCheck::Walk {
  std::string_view name;
  ChunkId own_from;
  TreeUsage& usage;
  Visitor visitor;
};

bool StoreCheck::WalkTree(std::string_view name, NodeId root, ChunkId own_from, TreeUsage& usage,
                          Visitor visitor) {
  Walk walk{name, own_from, usage, visitor};
  auto seen = nodes_.find(root);
  return WalkBelow(walk, root, seen == nodes_.end() ? -1 : seen->second.level, Range{});
}

// The level falls with each step, so this ends whatever the nodes say.
bool StoreCheck::WalkBelow(Walk& walk, NodeId id, int level, const Range& range) {
  std::string bytes;
  Result<bool> found = tables_.Get(Table::kNode, IdKey(id), bytes);
  Result<Node*> decoded = found && *found ? Node::Decode(id, bytes) : Fail(Err::kCorrupt);
  if (!decoded || (*decoded)->level != level) {
    if (decoded) delete *decoded;
    report_.Say("{}: what node {} holds cannot be read", walk.name, id);
    return false;
  }
  const NodePtr node(*decoded);
  walk.usage.node_bytes += kNodeHeaderBytes;
  bool whole = true;
  for (size_t i = 0; i < node->count(); ++i) {
    const Key key = node->keys[i];
    // The first key of an inner node counts as minus infinity.
    const bool first = !node->is_leaf() && i == 0;
    if ((!first && key < range.low) || (!range.open && !(key < range.high))) {
      report_.Say("{}: node {} holds what does not belong there", walk.name, id);
      return false;
    }
    if (node->is_leaf()) {
      CountItem(walk.usage, walk.own_from, key, node->value(i), +1);
      walk.visitor(key, node->value(i));
      continue;
    }
    walk.usage.node_bytes += kInnerItemBytes;
    Range below = range;
    if (!first) below.low = key;
    if (i + 1 < node->count()) {
      below.high = node->keys[i + 1];
      below.open = false;
    }
    whole &= WalkBelow(walk, node->children[i], level - 1, below);
  }
  return whole;
}

}  // namespace prism::cow
