#include "cow/node.h"

#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "fs/base/bytes.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr uint32_t kMagic = 0x444e5250;  // "PRND"
constexpr uint8_t kVersion = 1;
constexpr size_t kChecksumOffset = kNodeHeaderBytes - 8;

}  // namespace

Node::Node(NodeId node_id, const Node& other)
    : id(node_id),
      level(other.level),
      keys(other.keys),
      children(other.children),
      slots_(other.slots_),
      heap_(other.heap_),
      dead_bytes_(other.dead_bytes_) {}

size_t Node::LowerBound(Key key) const {
  return static_cast<size_t>(std::lower_bound(keys.begin(), keys.end(), key) - keys.begin());
}

size_t Node::ChildIndex(Key key) const {
  auto above = std::upper_bound(keys.begin() + 1, keys.end(), key);
  return static_cast<size_t>(above - keys.begin()) - 1;
}

void Node::InsertValue(size_t index, Key key, std::string_view bytes) {
  keys.insert(keys.begin() + static_cast<ptrdiff_t>(index), key);
  Slot slot{static_cast<uint32_t>(heap_.size()), static_cast<uint32_t>(bytes.size())};
  slots_.insert(slots_.begin() + static_cast<ptrdiff_t>(index), slot);
  heap_.append(bytes);
}

void Node::ReplaceValue(size_t index, std::string_view bytes) {
  Slot& slot = slots_[index];
  if (bytes.size() <= slot.length) {
    std::copy(bytes.begin(), bytes.end(), heap_.begin() + slot.offset);
    dead_bytes_ += slot.length - bytes.size();
    slot.length = static_cast<uint32_t>(bytes.size());
    return;
  }
  dead_bytes_ += slot.length;
  slot = Slot{static_cast<uint32_t>(heap_.size()), static_cast<uint32_t>(bytes.size())};
  heap_.append(bytes);
  if (dead_bytes_ > heap_.size() / 2) CompactHeap();
}

void Node::InsertChild(size_t index, Key key, NodeId child) {
  keys.insert(keys.begin() + static_cast<ptrdiff_t>(index), key);
  children.insert(children.begin() + static_cast<ptrdiff_t>(index), child);
}

void Node::EraseAt(size_t index) {
  keys.erase(keys.begin() + static_cast<ptrdiff_t>(index));
  if (!is_leaf()) {
    children.erase(children.begin() + static_cast<ptrdiff_t>(index));
    return;
  }
  dead_bytes_ += slots_[index].length;
  slots_.erase(slots_.begin() + static_cast<ptrdiff_t>(index));
  if (dead_bytes_ > heap_.size() / 2) CompactHeap();
}

void Node::MoveTailTo(size_t from, Node& right) {
  for (size_t i = from; i < count(); ++i) {
    if (is_leaf())
      right.InsertValue(right.count(), keys[i], value(i));
    else
      right.InsertChild(right.count(), keys[i], children[i]);
  }
  keys.resize(from);
  if (is_leaf()) {
    slots_.resize(from);
    CompactHeap();
  } else {
    children.resize(from);
  }
}

void Node::AppendAll(const Node& other) {
  for (size_t i = 0; i < other.count(); ++i) {
    if (is_leaf())
      InsertValue(count(), other.keys[i], other.value(i));
    else
      InsertChild(count(), other.keys[i], other.children[i]);
  }
}

void Node::PrependAll(const Node& other) {
  keys.insert(keys.begin(), other.keys.begin(), other.keys.end());
  if (!is_leaf()) {
    children.insert(children.begin(), other.children.begin(), other.children.end());
    return;
  }
  std::vector<Slot> slots;
  slots.reserve(keys.size());
  for (size_t i = 0; i < other.count(); ++i) {
    std::string_view bytes = other.value(i);
    slots.push_back({static_cast<uint32_t>(heap_.size()), static_cast<uint32_t>(bytes.size())});
    heap_.append(bytes);
  }
  slots.insert(slots.end(), slots_.begin(), slots_.end());
  slots_ = std::move(slots);
}

void Node::CompactHeap() {
  std::string heap;
  heap.reserve(heap_.size() - std::min(dead_bytes_, heap_.size()));
  for (Slot& slot : slots_) {
    uint32_t offset = static_cast<uint32_t>(heap.size());
    heap.append(heap_, slot.offset, slot.length);
    slot.offset = offset;
  }
  heap_ = std::move(heap);
  dead_bytes_ = 0;
}

size_t Node::EncodedBytes() const {
  if (!is_leaf()) return kNodeHeaderBytes + count() * kInnerItemBytes;
  return kNodeHeaderBytes + count() * kLeafItemBytes + heap_.size() - dead_bytes_;
}

size_t Node::MemoryBytes() const {
  return sizeof(Node) + keys.capacity() * sizeof(Key) + slots_.capacity() * sizeof(Slot) +
         children.capacity() * sizeof(NodeId) + heap_.capacity();
}

std::string Node::Encode() const {
  std::string out;
  out.reserve(EncodedBytes());
  ByteWriter writer(out);
  writer.Put(kMagic);
  writer.Put(kVersion);
  writer.Put(level);
  writer.Put(uint16_t{0});
  writer.Put(id);
  writer.Put(static_cast<uint32_t>(count()));
  writer.Put(uint32_t{0});
  writer.Put(uint64_t{0});
  writer.Put(uint64_t{0});  // the checksum, below
  PRISM_CHECK(out.size() == kNodeHeaderBytes);
  for (size_t i = 0; i < count(); ++i) {
    writer.Put(keys[i].hi);
    writer.Put(keys[i].lo);
    if (is_leaf())
      writer.Put(slots_[i].length);
    else
      writer.Put(children[i]);
  }
  if (is_leaf())
    for (size_t i = 0; i < count(); ++i) writer.PutBytes(value(i));
  uint64_t checksum = XXH3_64bits(out.data(), out.size());
  std::memcpy(out.data() + kChecksumOffset, &checksum, sizeof checksum);
  return out;
}

Result<Node*> Node::Decode(NodeId expected_id, std::string_view bytes) {
  if (bytes.size() < kNodeHeaderBytes) return Fail(Err::kCorrupt);
  std::string copy(bytes);
  uint64_t stored;
  std::memcpy(&stored, copy.data() + kChecksumOffset, sizeof stored);
  std::memset(copy.data() + kChecksumOffset, 0, sizeof stored);
  if (XXH3_64bits(copy.data(), copy.size()) != stored) return Fail(Err::kCorrupt);
  ByteReader reader(copy);
  uint32_t magic = reader.Get<uint32_t>();
  uint8_t version = reader.Get<uint8_t>();
  uint8_t level = reader.Get<uint8_t>();
  reader.Get<uint16_t>();
  NodeId id = reader.Get<uint64_t>();
  uint32_t count = reader.Get<uint32_t>();
  reader.GetBytes(kNodeHeaderBytes - 20);
  size_t item_bytes = level == 0 ? kLeafItemBytes : kInnerItemBytes;
  if (magic != kMagic || version != kVersion || id != expected_id ||
      reader.remaining() / item_bytes < count || (level > 0 && count == 0))
    return Fail(Err::kCorrupt);
  auto node = std::make_unique<Node>(id, level);
  node->keys.reserve(count);
  uint64_t offset = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Key key;
    key.hi = reader.Get<uint64_t>();
    key.lo = reader.Get<uint64_t>();
    if (i > 0 && !(node->keys.back() < key)) return Fail(Err::kCorrupt);
    node->keys.push_back(key);
    if (level == 0) {
      uint32_t length = reader.Get<uint32_t>();
      node->slots_.push_back({static_cast<uint32_t>(offset), length});
      offset += length;
    } else {
      node->children.push_back(reader.Get<uint64_t>());
    }
  }
  if (reader.remaining() != offset) return Fail(Err::kCorrupt);
  node->heap_.assign(reader.GetBytes(offset));
  return node.release();
}

}  // namespace prism::cow
