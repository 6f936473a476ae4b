// Chunks, read whole and in parts, together and alone, after a restart and damaged.
#include <fcntl.h>
#include <unistd.h>

#include <random>

#include "cow/extent.h"
#include "tests/engine/store_fixture.h"

namespace prism::testing {
namespace {

using cow::kBlockSize;
using cow::kUnitSize;

class ChunkTest : public StoreFixture {
 protected:
  // `random` of the bytes do not compress.
  static std::string Content(uint64_t seed, size_t size, size_t random) {
    std::mt19937_64 generator(seed);
    std::string content(size, static_cast<char>(seed));
    for (size_t i = 0; i < random; ++i) content[i] = static_cast<char>(generator());
    return content;
  }

  // A chunk that the file block of this number refers to.
  ChunkId Store(const std::string& content) {
    auto pin = catalog_->engine().chunks().Put(std::as_bytes(std::span(content)));
    EXPECT_TRUE(pin.has_value());
    auto volume = catalog_->Find("v")->volume;
    const auto units = static_cast<uint8_t>((content.size() + kUnitSize - 1) / kUnitSize);
    auto transaction = volume->Write();
    transaction->Put(cow::MakeKey(cow::ItemType::kExtent, 2, contents_.size()),
                     cow::EncodeExtent({{0, units, 0, pin->id()}}));
    EXPECT_TRUE(transaction->Commit().has_value());
    contents_.emplace_back(pin->id(), content);
    return pin->id();
  }

  Status Read(ChunkId id, uint32_t offset, size_t size, std::string& out) {
    out.assign(size, '?');
    return catalog_->engine().chunks().Read(id, offset, std::as_writable_bytes(std::span(out)));
  }

  void DamageSegment(off_t offset) {
    int fd = ::open((directory_ + "/store/segments/00000001").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::pwrite(fd, "damage", 6, offset), 6);
    ::close(fd);
  }

  std::vector<std::pair<ChunkId, std::string>> contents_;
};

// What Read must give: zeros beyond the end.
std::string Part(const std::string& content, size_t offset, size_t size) {
  std::string part = offset < content.size() ? content.substr(offset, size) : "";
  part.resize(size, '\0');
  return part;
}

TEST_F(ChunkTest, AnyPartsTogetherInAnyOrder) {
  Create("v");
  std::mt19937_64 random(7);
  for (uint64_t i = 0; i < 40; ++i) {
    const size_t size = i % 3 == 0 ? kBlockSize : 1 + random() % kBlockSize;
    Store(Content(i, size, i % 2 == 0 ? size : size / 3));
  }
  int kept_parts = 0;
  for (int round = 0; round < 30; ++round) {
    if (round % 5 == 0) Reopen();  // with nothing in the caches
    std::vector<std::string> expected, got;
    std::vector<ChunkId> ids;
    std::vector<uint32_t> offsets;
    for (int i = 0; i < 50; ++i) {
      const auto& [id, content] = contents_[random() % contents_.size()];
      const bool aligned = random() % 2 == 0;
      const size_t grain = aligned ? kUnitSize : 1;
      const auto offset = static_cast<uint32_t>(random() % (kBlockSize / grain) * grain);
      const size_t size = (1 + random() % ((kBlockSize - offset) / grain)) * grain;
      ids.push_back(id);
      offsets.push_back(offset);
      expected.push_back(Part(content, offset, size));
      got.emplace_back(size, '?');
    }
    std::vector<cow::ChunkRead> reads;
    std::vector<KeptBytes> kept(ids.size());
    for (size_t i = 0; i < ids.size(); ++i)
      reads.push_back({ids[i], offsets[i], std::as_writable_bytes(std::span(got[i])),
                       random() % 2 == 0 ? &kept[i] : nullptr});
    ASSERT_TRUE(catalog_->engine().chunks().ReadAll(reads).has_value());
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto& [owner, bytes] = kept[i];
      if (owner == nullptr) continue;
      EXPECT_EQ(got[i], std::string(got[i].size(), '?')) << "not in both places";
      got[i].assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      ++kept_parts;
    }
    for (size_t i = 0; i < ids.size(); ++i)
      ASSERT_EQ(got[i], expected[i]) << "chunk " << ids[i] << " at " << offsets[i];
  }
  EXPECT_GT(kept_parts, 50);
}

TEST_F(ChunkTest, DamageFailsWhatNeedsItAndNothingElse) {
  Create("v");
  const ChunkId id = Store(Content(1, kBlockSize, kBlockSize));
  const ChunkId next = Store(Content(2, kBlockSize, kBlockSize));
  catalog_.reset();
  DamageSegment(5 * kUnitSize + 100);
  std::string out;
  for (uint32_t unit = 0; unit < cow::kUnitsPerBlock; ++unit) {
    Open();  // the first read of a chunk is of what it asks for
    Status read = Read(id, unit * kUnitSize, kUnitSize, out);
    if (unit == 5) {
      EXPECT_EQ(read.error(), Err::kCorrupt);
    } else {
      EXPECT_TRUE(read.has_value()) << unit;
      EXPECT_EQ(out, Part(contents_[0].second, unit * kUnitSize, kUnitSize));
    }
    EXPECT_EQ(Read(id, 0, kBlockSize, out).error(), Err::kCorrupt);
    EXPECT_EQ(Read(id, 1, 10, out).error(), Err::kCorrupt);  // not verifiable but whole
    catalog_.reset();
  }
  Open();
  std::string both[2] = {std::string(kBlockSize, '?'), std::string(kBlockSize, '?')};
  const cow::ChunkRead reads[] = {{next, 0, std::as_writable_bytes(std::span(both[0]))},
                                  {id, 0, std::as_writable_bytes(std::span(both[1]))}};
  EXPECT_EQ(catalog_->engine().chunks().ReadAll(reads).error(), Err::kCorrupt);
  EXPECT_TRUE(Read(next, 0, kBlockSize, out).has_value());
  EXPECT_EQ(out, contents_[1].second);
}

TEST_F(ChunkTest, AWholeChunkIsKeptWhenItIsReadForTheSecondTime) {
  Create("v");
  const ChunkId id = Store(Content(1, kBlockSize, kBlockSize));
  Reopen();
  std::string out;
  for (int reads = 1; reads <= 2; ++reads) {
    EXPECT_TRUE(Read(id, 0, kBlockSize, out).has_value());
    EXPECT_EQ(out, contents_[0].second);
  }
  DamageSegment(100);
  EXPECT_TRUE(Read(id, 0, kBlockSize, out).has_value()) << "the third read is from memory";
  EXPECT_EQ(out, contents_[0].second);
  Reopen();
  EXPECT_EQ(Read(id, 0, kBlockSize, out).error(), Err::kCorrupt);
}

TEST_F(ChunkTest, WhatIsReadOnceTakesNoPlaceInTheCache) {
  Create("v");
  const ChunkId id = Store(Content(1, kBlockSize, kBlockSize));
  Reopen();
  std::string out;
  EXPECT_TRUE(Read(id, 0, kBlockSize, out).has_value());
  DamageSegment(100);
  EXPECT_EQ(Read(id, 0, kBlockSize, out).error(), Err::kCorrupt) << "it is read from the disk";
}

// Segments as a power failure may leave them if nobody has synced them.
TEST_F(ChunkTest, SmallChunksComeBackFromTheJournalAlone) {
  Create("v");
  ASSERT_TRUE(catalog_->engine().Checkpoint().has_value());
  std::string out;
  for (uint64_t i = 0; i < 20; ++i) {
    const ChunkId id = Store(Content(i, 1 + 300 * i, i % 2 == 0 ? 1 + 300 * i : 0));
    cow::Journal& journal = catalog_->engine().journal();
    ASSERT_TRUE(journal.WaitDurable(journal.last_lsn()).has_value());
    const std::string copy = directory_ + "/copy";
    std::filesystem::copy(directory_ + "/store", copy, std::filesystem::copy_options::recursive);
    for (const auto& file : std::filesystem::directory_iterator(copy + "/segments"))
      std::filesystem::resize_file(file, 0);
    catalog_.reset();
    std::filesystem::remove_all(directory_ + "/store");
    std::filesystem::rename(copy, directory_ + "/store");
    Open();
    EXPECT_TRUE(Read(id, 0, contents_[i].second.size(), out).has_value());
    EXPECT_EQ(out, contents_[i].second);
  }
}

}  // namespace
}  // namespace prism::testing
