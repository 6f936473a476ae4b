// Record marking: any cut of the stream into pieces, and of records into fragments, gives the same
// records; what breaks the rules is found out before memory is spent on it.
#include "server/rpc/record.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/rpc/raw_client.h"

namespace prism::rpc {
namespace {

constexpr size_t kRecordMax = (1 << 20) + (8 << 10);

Bytes Pattern(size_t size_bytes, uint32_t seed) {
  Bytes bytes(size_bytes);
  std::mt19937 random(seed);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// Feeds `stream`, at most `piece` bytes at a time; the records that come out.
struct Outcome {
  std::vector<Bytes> records;
  bool broken = false;
};
Outcome Feed(RecordReader& reader, std::span<const std::byte> stream, size_t piece,
             bool take = false) {
  Outcome outcome;
  RecordBuffer storage;
  for (;;) {
    switch (reader.Poll()) {
      case RecordReader::State::kBroken:
        outcome.broken = true;
        return outcome;
      case RecordReader::State::kRecord: {
        if (take) {
          const auto bytes = reader.Take(storage);
          outcome.records.emplace_back(bytes.begin(), bytes.end());
        } else {
          outcome.records.emplace_back(reader.record().begin(), reader.record().end());
          reader.Pop();
        }
        continue;
      }
      case RecordReader::State::kNeedMore:
        break;
    }
    if (stream.empty()) return outcome;
    const std::span<std::byte> space = reader.Space();
    EXPECT_FALSE(space.empty());
    const size_t size_bytes = std::min({piece, space.size(), stream.size()});
    std::memcpy(space.data(), stream.data(), size_bytes);
    reader.Filled(size_bytes);
    stream = stream.subspan(size_bytes);
  }
}

TEST(RecordTest, EveryCutOfTheStream) {
  const std::vector<Bytes> records = {Pattern(40, 1), Pattern(3, 2), Pattern(200, 3)};
  const Bytes stream = Joined({Marked(records[0]), Marked(records[1]), Marked(records[2])});
  for (bool take : {false, true}) {
    for (size_t piece = 1; piece <= stream.size(); ++piece) {
      RecordReader reader(kRecordMax, nullptr);
      EXPECT_EQ(Feed(reader, stream, piece, take).records, records);
      EXPECT_FALSE(reader.mid_record());
    }
    for (size_t cut = 0; cut <= stream.size(); ++cut) {
      RecordReader reader(kRecordMax, nullptr);
      Outcome first = Feed(reader, std::span(stream).first(cut), cut, take);
      Outcome second = Feed(reader, std::span(stream).subspan(cut), stream.size(), take);
      first.records.insert(first.records.end(), second.records.begin(), second.records.end());
      EXPECT_EQ(first.records, records);
    }
  }
}

TEST(RecordTest, EveryCutIntoFragments) {
  const Bytes record = Pattern(60, 4);
  const std::span<const std::byte> all(record);
  for (size_t a = 0; a <= record.size(); ++a) {
    for (size_t b = a; b <= record.size(); ++b) {
      const Bytes stream =
          Joined({Fragment(all.first(a), false), Fragment(all.subspan(a, b - a), false),
                  Fragment(all.subspan(b), true), Marked(record)});
      for (size_t piece : {size_t{1}, size_t{7}, stream.size()}) {
        RecordReader reader(kRecordMax, nullptr);
        EXPECT_EQ(Feed(reader, stream, piece).records, (std::vector<Bytes>{record, record}));
      }
    }
  }
}

TEST(RecordTest, LargeRecordsOfAnyFragments) {
  std::mt19937 random(5);
  for (size_t size_bytes : {size_t{4096}, size_t{16 << 10}, (size_t{16} << 10) + 1, size_t{70'000},
                            size_t{1} << 20, kRecordMax}) {
    const Bytes record = Pattern(size_bytes, 6);
    for (size_t fragment : {size_t{100}, size_t{4096}, size_t{65536}, size_bytes}) {
      Bytes stream;
      for (size_t at = 0; at < size_bytes;) {
        const size_t length = std::min<size_t>(1 + random() % fragment, size_bytes - at);
        const Bytes part =
            Fragment(std::span(record).subspan(at, length), at + length == size_bytes);
        stream.insert(stream.end(), part.begin(), part.end());
        at += length;
      }
      stream = Joined({stream, stream, Marked(Pattern(9, 7))});
      for (bool take : {false, true}) {
        RecordReader reader(kRecordMax, nullptr);
        const Outcome outcome = Feed(reader, stream, 50'000, take);
        ASSERT_EQ(outcome.records.size(), 3u);
        EXPECT_TRUE(outcome.records[0] == record && outcome.records[1] == record);
        EXPECT_EQ(outcome.records[2], Pattern(9, 7));
      }
    }
  }
}

TEST(RecordTest, OneByteFragments) {
  const Bytes record = Pattern(40'000, 8);
  Bytes stream;
  for (size_t i = 0; i < record.size(); ++i) {
    const Bytes part = Fragment(std::span(record).subspan(i, 1), i + 1 == record.size());
    stream.insert(stream.end(), part.begin(), part.end());
  }
  for (size_t piece : {size_t{3}, size_t{1000}, stream.size()}) {
    RecordReader reader(kRecordMax, nullptr);
    EXPECT_EQ(Feed(reader, stream, piece).records, std::vector<Bytes>{record});
  }
}

TEST(RecordTest, WhatBreaksTheRules) {
  const auto broken = [](const Bytes& stream) {
    RecordReader reader(kRecordMax, nullptr);
    return Feed(reader, stream, 1000).broken;
  };
  const Bytes empty = Fragment({}, false);
  EXPECT_TRUE(broken(Words({kLastFragment})));           // an empty record
  EXPECT_TRUE(broken(Words({0, 0, 0, kLastFragment})));  // in pieces
  EXPECT_TRUE(broken(Words({kLastFragment | (kRecordMax + 1)})));
  EXPECT_TRUE(broken(Words({0x47455420, 0x2f204854})));  // "GET / HT"
  EXPECT_TRUE(broken(Words({0xffffffff})));
  EXPECT_TRUE(broken(Joined({Fragment(Zeros(kRecordMax), false), Words({kLastFragment | 1})})));
  EXPECT_TRUE(broken(Joined(std::vector<Bytes>(17, empty))));
  EXPECT_FALSE(broken(Joined({Joined(std::vector<Bytes>(16, empty)), Marked(Zeros(4))})));
  // The count begins anew with each record.
  const Bytes twelve = Joined({Joined(std::vector<Bytes>(12, empty)), Marked(Zeros(4))});
  EXPECT_FALSE(broken(Joined({twelve, twelve, twelve})));
}

class BudgetTest : public ::testing::Test {
 protected:
  std::shared_ptr<Client> MakeClient(uint64_t max_bytes) {
    return std::make_shared<Client>(PeerAddress{}, max_bytes, overall_);
  }
  Budget overall_{8 << 20};
};

TEST_F(BudgetTest, MemoryFollowsWhatHasArrived) {
  auto client = MakeClient(8 << 20);
  RecordReader reader(kRecordMax, client);
  Feed(reader, Words({kLastFragment | (1 << 20)}), 4);
  EXPECT_EQ(overall_.used_bytes(), 0u);  // a claim alone costs nothing
  size_t sent = 0;
  while (sent < (1 << 20) - 1000) {
    Feed(reader, Zeros(1000), 1000);
    sent += 1000;
    EXPECT_LE(overall_.used_bytes(), std::max<size_t>(64 << 10, 5 * sent));
  }
  const Outcome outcome = Feed(reader, Zeros((1 << 20) - sent), 1 << 20);
  EXPECT_EQ(outcome.records.size(), 1u);
  EXPECT_GT(overall_.used_bytes(), 0u);
  reader.Idle();
  EXPECT_EQ(overall_.used_bytes(), 0u);
}

TEST_F(BudgetTest, ARecordWithoutMemoryLosesItsTailOnly) {
  auto client = MakeClient(100 << 10);
  RecordReader reader(kRecordMax, client);
  const Bytes record = Pattern(1 << 20, 9);
  const Bytes small = Pattern(100, 10);
  for (size_t fragment : {size_t{1} << 20, size_t{3000}}) {
    Bytes stream;
    for (size_t at = 0; at < record.size(); at += fragment) {
      const size_t length = std::min(fragment, record.size() - at);
      const Bytes part =
          Fragment(std::span(record).subspan(at, length), at + length == record.size());
      stream.insert(stream.end(), part.begin(), part.end());
    }
    Outcome outcome;
    for (size_t at = 0; at < stream.size(); at += 10'000) {
      Feed(reader, std::span(stream).subspan(at, std::min<size_t>(10'000, stream.size() - at)),
           10'000, /*take=*/false);
      EXPECT_LE(overall_.used_bytes(), 100u << 10);
    }
    // Once more, looking at the record.
    RecordReader other(kRecordMax, client);
    size_t at = 0;
    while (other.Poll() == RecordReader::State::kNeedMore) {
      auto space = other.Space();
      const size_t length = std::min(space.size(), stream.size() - at);
      std::memcpy(space.data(), stream.data() + at, length);
      other.Filled(length);
      at += length;
    }
    ASSERT_EQ(other.Poll(), RecordReader::State::kRecord);
    EXPECT_TRUE(other.truncated());
    ASSERT_GE(other.record().size(), 8u << 10);
    EXPECT_TRUE(std::equal(other.record().begin(), other.record().end(), record.begin()));
    other.Pop();
    EXPECT_EQ(Feed(other, Marked(small), 50).records, std::vector<Bytes>{small});
    EXPECT_FALSE(other.truncated());
  }
}

TEST_F(BudgetTest, WhatIsTakenIsChargedUntilItGoes) {
  auto client = MakeClient(8 << 20);
  RecordReader reader(kRecordMax, client);
  RecordBuffer storage;
  const Bytes stream = Marked(Pattern(500'000, 11));
  {
    RecordBuffer taken;
    std::span<const std::byte> rest(stream);
    while (reader.Poll() == RecordReader::State::kNeedMore) {
      auto space = reader.Space();
      const size_t length = std::min(space.size(), rest.size());
      std::memcpy(space.data(), rest.data(), length);
      reader.Filled(length);
      rest = rest.subspan(length);
    }
    EXPECT_EQ(reader.Take(taken).size(), 500'000u);
    EXPECT_GE(overall_.used_bytes(), 480'000u);
  }
  EXPECT_EQ(overall_.used_bytes(), 0u);
}

}  // namespace
}  // namespace prism::rpc
