// A store in a temporary directory, closed and opened at will.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "clone/catalog.h"

namespace prism::testing {

class StoreFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "prism-engine-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    Open();
  }
  void TearDown() override {
    catalog_.reset();
    std::filesystem::remove_all(directory_);
  }

  void Open() {
    cow::EngineOptions options;
    options.directory = directory_ + "/store";
    options.node_cache_bytes = node_cache_bytes_;
    options.checkpoint_interval_ms = 3600 * 1000;  // tests say when
    auto catalog = clone::Catalog::Open(options);
    ASSERT_TRUE(catalog.has_value()) << catalog.error().message;
    catalog_ = std::move(*catalog);
  }
  void Reopen() {
    catalog_.reset();
    Open();
  }
  // What a kill leaves: the store as it was at the last sync, opened elsewhere.
  enum class Crash { kPowerCut, kProcessKilled };
  void CrashAndReopen(Crash crash = Crash::kPowerCut) {
    std::filesystem::path copy = directory_ + "/crashed";
    std::filesystem::copy(directory_ + "/store", copy, std::filesystem::copy_options::recursive);
    if (crash == Crash::kPowerCut) std::filesystem::remove(copy / "journal/tail");
    catalog_.reset();
    std::filesystem::remove_all(directory_ + "/store");
    std::filesystem::rename(copy, directory_ + "/store");
    Open();
  }

  std::shared_ptr<clone::Volume> Create(const std::string& name) {
    auto entry = catalog_->Create(name, false);
    EXPECT_TRUE(entry.has_value()) << entry.error().message;
    return entry->volume;
  }
  std::shared_ptr<clone::Volume> CloneOf(const std::string& source, const std::string& name) {
    auto entries = catalog_->Clone(source, {name});
    EXPECT_TRUE(entries.has_value()) << entries.error().message;
    return entries->front().volume;
  }
  std::shared_ptr<clone::Volume> Find(const std::string& name) {
    auto entry = catalog_->Find(name);
    return entry ? entry->volume : nullptr;
  }

  using Contents = std::map<std::pair<uint64_t, uint64_t>, std::string>;
  static Contents Dump(clone::Volume& volume) {
    Contents contents;
    auto view = volume.Read();
    EXPECT_TRUE(
        view->Scan({0, 0}, {~uint64_t{0}, ~uint64_t{0}}, [&](cow::Key key, std::string_view value) {
          contents[{key.hi, key.lo}] = value;
          return true;
        }));
    return contents;
  }
  Lsn PutOne(clone::Volume& volume, cow::Key key, std::string value) {
    auto transaction = volume.Write();
    transaction->Put(key, std::move(value));
    auto lsn = transaction->Commit();
    EXPECT_TRUE(lsn.has_value());
    return lsn.value_or(0);
  }

  std::string directory_;
  uint64_t node_cache_bytes_ = uint64_t{64} << 20;
  std::unique_ptr<clone::Catalog> catalog_;
};

}  // namespace prism::testing
