// Reads that fail and stored bytes that change: an error, never other content.
//
// PRISM_CRASH_SEED and PRISM_DAMAGE_RUNS make other and longer runs.
#include <fcntl.h>
#include <unistd.h>

#include "tests/crash/power_fixture.h"

namespace prism::crash {
namespace {

class DamageTest : public PowerTest {
 protected:
  void SetUp() override {
    rng_.seed(FromEnvironment("PRISM_CRASH_SEED", 6));
    RecordStore(rng_(), 200);
    WorkerResult dump = RunWorker(Options("dump", Path("store")));
    ASSERT_TRUE(dump.good() && dump.errors.empty()) << dump.Describe();
    whole_ = EncodeStore(dump.found);
  }

  void CopyStore() {
    std::filesystem::remove_all(Path("copy"));
    std::filesystem::copy(Path("store"), Path("copy"), std::filesystem::copy_options::recursive);
  }

  // Reads the copy. True: the damage was reported.
  bool Read(WorkerOptions options, const std::string& trace) {
    WorkerResult dump = RunWorker(options);
    bool stopped = dump.signal == SIGABRT && dump.log.find("reference count") != std::string::npos;
    bool refused = dump.exit_code == 2 && dump.log.find("open: ") != std::string::npos;
    if (stopped || refused) return true;
    if (!dump.good()) {
      problems_.push_back(trace + ": ended badly: " + dump.Describe());
      return true;
    }
    if (dump.errors.empty() && EncodeStore(dump.found) != whole_)
      problems_.push_back(trace + ": other content and no error");
    return !dump.errors.empty();
  }

  // Changes one byte of one file below the copy's `folder`; returns which.
  std::string Flip(const std::string& folder) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(Path("copy/") + folder))
      if (entry.is_regular_file() && entry.file_size() > 0 &&
          (folder != "db" || entry.path().extension() == ".sst"))
        files.push_back(entry.path());
    if (files.empty()) return {};
    std::sort(files.begin(), files.end());
    const std::filesystem::path& file = files[rng_() % files.size()];
    const auto offset = static_cast<off_t>(rng_() % std::filesystem::file_size(file));
    int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
    char byte = 0;
    EXPECT_EQ(::pread(fd, &byte, 1, offset), 1);
    byte = static_cast<char>(byte ^ (1 << rng_() % 8));
    EXPECT_EQ(::pwrite(fd, &byte, 1, offset), 1);
    ::close(fd);
    return fmt::format("a bit at {} of {}/{}", offset, folder, file.filename().string());
  }

  void FlipMany(const std::string& folder) {
    const uint64_t runs = FromEnvironment("PRISM_DAMAGE_RUNS", 15);
    uint64_t reported = 0;
    for (uint64_t i = 0; i < runs; ++i) {
      CopyStore();
      std::string trace = Flip(folder);
      ASSERT_FALSE(trace.empty()) << "nothing to damage in " << folder;
      reported += Read(Options("dump", Path("copy")), trace);
    }
    for (const std::string& problem : problems_) ADD_FAILURE() << problem;
    EXPECT_GT(reported, 0u) << "no damage was ever noticed";
    fmt::print("{} of {} flips were reported, the others hit nothing that is in use\n", reported,
               runs);
  }

  std::string whole_;
};

TEST_F(DamageTest, ReadsThatFail) {
  uint64_t runs = 0, reported = 0;
  for (uint64_t position = 1;; position += 1 + position / 3) {
    CopyStore();
    std::filesystem::remove(Path("fired"));
    WorkerOptions options = Options("dump", Path("copy"));
    std::string fail = fmt::format("read {} {} once", position, EIO);
    options.environment = {{"LD_PRELOAD", PRISM_POWER_SHIM},
                           {kShimStore, Path("copy")},
                           {kShimFail, fail},
                           {kShimFired, Path("fired")}};
    bool told = Read(options, "PRISM_SHIM_FAIL=" + fail);
    if (!std::filesystem::exists(Path("fired"))) break;
    ++runs;
    reported += told;
  }
  for (const std::string& problem : problems_) ADD_FAILURE() << problem;
  EXPECT_GT(reported, 0u);
  fmt::print("{} reads failed, {} were reported\n", runs, reported);
}

TEST_F(DamageTest, ContentThatChanged) { FlipMany("segments"); }

TEST_F(DamageTest, TablesThatChanged) { FlipMany("db"); }

}  // namespace
}  // namespace prism::crash
