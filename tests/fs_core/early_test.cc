// Full blocks are saved while their writers go on: nobody sees a difference.
#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include "fs/core/file_limits.h"
#include "tests/fs_core/harness.h"

namespace prism::fs::testing {
namespace {

using cow::kBlockSize;

class EarlyTest : public FsTest {
 protected:
  static constexpr size_t kMiB = size_t{1} << 20;

  void SetUp() override {
    ASSERT_TRUE(FormatVolume(*volume_));
    CoreOptions options;
    options.volume = 7;
    options.flusher = &flusher_;
    core_ = VolumeCore::Open(volume_, store_, budget_, options);
    fs_ = core_->Attach();
  }
  void TearDown() override {
    FsTest::TearDown();
    fs_.reset();
    core_.reset();  // before the flusher
  }
  bool Within5Seconds(const std::function<bool()>& condition) {
    for (int i = 0; i < 500 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return condition();
  }

  Flusher flusher_{2};
};

TEST_F(EarlyTest, FullBlocksAreSavedWithoutAFlush) {
  const InodeId ino = Make("f");
  const std::string text = Pattern(4 * kMiB + 1000, 1);
  Write(ino, 0, text);
  EXPECT_TRUE(Within5Seconds([&] { return store_.chunks() >= kEarlyBlocks; }));
  EXPECT_EQ(ReadAll(ino), text);
  Flush();
  EXPECT_EQ(ReadAll(ino), text);
  CheckAll();
}

TEST_F(EarlyTest, SmallWritesWait) {
  const InodeId ino = Make("f");
  for (uint64_t block = 0; block < 4 * kEarlyBlocks; ++block)
    Write(ino, block * kBlockSize, "small");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(store_.chunks(), 0u);
}

TEST_F(EarlyTest, AFailureIsTheNextFlushsAndLosesNothing) {
  const InodeId ino = Make("f");
  const std::string text = Pattern(3 * kMiB, 2);
  store_.fail_puts = true;
  Write(ino, 0, text);
  EXPECT_TRUE(Within5Seconds([&] { return store_.puts > 0; }));
  EXPECT_EQ(ReadAll(ino), text);
  EXPECT_FALSE(core_->Flush());
  store_.fail_puts = false;
  Flush();
  EXPECT_EQ(ReadAll(ino), text);
}

TEST_F(EarlyTest, WritersReadersTruncationAndFlushesAtOnce) {
  constexpr int kWriters = 4;
  std::vector<std::thread> threads;
  std::vector<InodeId> files;
  std::vector<std::string> contents(kWriters);
  for (int i = 0; i < kWriters; ++i) files.push_back(Make("f" + std::to_string(i)));
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(static_cast<unsigned>(i));
      std::string& content = contents[i];
      for (uint32_t step = 0; step < 60; ++step) {
        const size_t at = random() % (6 * kMiB);
        const std::string piece = Pattern(1 + random() % (2 * kMiB), step * 10 + i);
        if (content.size() < at + piece.size()) content.resize(at + piece.size(), '\0');
        content.replace(at, piece.size(), piece);
        Write(files[i], at, piece);
        if (step % 7 == 3) {
          content.resize(content.size() / 2);
          SetAttr shorter;
          shorter.size = content.size();
          EXPECT_TRUE(fs_->Setattr(root_, files[i], shorter));
        }
        if (step % 11 == 5) {
          EXPECT_TRUE(fs_->Fsync(root_, files[i], false));
        }
        if (step % 5 == 0) {
          EXPECT_EQ(ReadAll(files[i]), content) << "step " << step;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kWriters; ++i) EXPECT_EQ(ReadAll(files[i]), contents[i]);
  Flush();
  for (int i = 0; i < kWriters; ++i) EXPECT_EQ(ReadAll(files[i]), contents[i]);
  CheckAll();
}

TEST_F(EarlyTest, TheCoreGoesWhileSomethingIsBeingSaved) {
  for (int i = 0; i < 20; ++i) {
    const InodeId ino = Make("f" + std::to_string(i));
    Write(ino, 0, Pattern(2 * kMiB, static_cast<uint32_t>(i)));
    fs_.reset();
    core_.reset();
    SetUp();
  }
}

}  // namespace
}  // namespace prism::fs::testing
