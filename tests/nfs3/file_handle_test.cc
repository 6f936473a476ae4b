// Handles: nobody makes one up, and every one goes on working.
#include "server/nfs3/file_handle.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/model/model_host.h"

namespace prism::nfs3 {
namespace {

class FileHandleTest : public testing::Test {
 protected:
  std::unique_ptr<HandleCodec> Open(model::ModelHost& host) {
    auto codec = HandleCodec::Open(host);
    EXPECT_TRUE(codec);
    return std::move(*codec);
  }

  model::ModelHost host_;
  std::unique_ptr<HandleCodec> codec_ = Open(host_);
};

TEST_F(FileHandleTest, NamesVolumeAndInode) {
  for (const FileId id : {FileId{1, 1}, FileId{1, 2}, FileId{2, 1}, FileId{UINT64_MAX, kInodeMax}})
    EXPECT_EQ(codec_->Decode(codec_->Encode(id)), id);
}

TEST_F(FileHandleTest, SurvivesARestart) {
  const HandleBytes handle = codec_->Encode({3, 4});
  EXPECT_EQ(Open(host_)->Encode({3, 4}), handle);
  EXPECT_EQ(Open(host_)->Decode(handle), (FileId{3, 4}));
}

// Clients keep handles over an upgrade of the server: the MAC by `openssl mac ... SIPHASH`.
TEST_F(FileHandleTest, StaysAsItIs) {
  std::string key;
  for (char byte = 0; byte < 16; ++byte) key.push_back(byte);
  ASSERT_TRUE(host_.SetSetting("nfs/handle-key", key));
  constexpr uint8_t kMac[] = {0x0d, 0x3d, 0xa9, 0x55, 0x1d, 0xc4, 0xda, 0xe7,
                              0x16, 0x5c, 0xc2, 0xc6, 0xef, 0x27, 0x4c, 0xf6};
  const HandleBytes handle = Open(host_)->Encode({3, 4});
  EXPECT_EQ(std::memcmp(&handle[20], kMac, sizeof kMac), 0);
}

TEST_F(FileHandleTest, AnotherStoresIsRefused) {
  model::ModelHost other;
  EXPECT_FALSE(Open(other)->Decode(codec_->Encode({3, 4})));
}

TEST_F(FileHandleTest, EveryBitCounts) {
  const HandleBytes handle = codec_->Encode({3, 4});
  for (size_t bit = 0; bit < handle.size() * 8; ++bit) {
    HandleBytes forged = handle;
    forged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(codec_->Decode(forged)) << bit;
  }
  for (size_t size = 0; size < handle.size(); ++size)
    EXPECT_FALSE(codec_->Decode(std::span(handle).first(size)));
  std::vector<std::byte> longer(handle.begin(), handle.end());
  longer.resize(64);
  EXPECT_FALSE(codec_->Decode(longer));
}

TEST_F(FileHandleTest, ADamagedKeyIsSaid) {
  ASSERT_TRUE(host_.SetSetting("nfs/handle-key", "short"));
  auto codec = HandleCodec::Open(host_);
  ASSERT_FALSE(codec);
  EXPECT_EQ(codec.error().code, Err::kCorrupt);
}

}  // namespace
}  // namespace prism::nfs3
