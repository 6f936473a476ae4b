// The tree's rules: who may include whom, who may see which library, how large a file may be.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// A layer (a folder) and the layers it may include besides itself. The order is bottom first.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"fs/base", {}},
    {"fs/contract", {"fs/base"}},
    {"fs/birth", {"fs/base", "fs/contract"}},
    {"cow", {"fs/base"}},
    {"clone", {"fs/base", "cow"}},
    {"fs/core", {"fs/base", "fs/contract", "cow", "clone"}},
    {"vrpc", {"fs/base", "fs/contract"}},
    {"fs/mount", {"fs/base", "fs/contract", "vrpc"}},
    {"server/rpc", {"fs/base"}},
    {"server/nfs3", {"fs/base", "fs/contract", "fs/core", "server/rpc"}},
    {"server/nlm", {"fs/base", "fs/contract", "fs/core", "server/rpc", "server/nfs3"}},
    {"server",
     {"fs/base", "fs/contract", "fs/birth", "fs/core", "vrpc", "server/rpc", "server/nfs3",
      "server/nlm"}},
    // fs/core for what works on a store without a server: `prism fsck STORE`.
    {"tools/prism", {"fs/base", "fs/contract", "fs/birth", "fs/core", "fs/mount", "vrpc"}},
    {"tools/prism-mount", {"fs/base", "fs/contract", "fs/mount", "vrpc"}},
};

// A library's headers and the only places that may see them.
const std::map<std::string, std::vector<std::string>> kOnlyIn = {
    {"rocksdb/", {"cow/rocks_kv.cc"}},
    {"fuse", {"fs/mount/"}},
    {"archive", {"tools/prism/"}},
    {"openssl/", {"cow/content_hash.cc", "fs/birth/ssh_key.cc", "server/nfs3/file_handle."}},
    {"toml++/", {"fs/birth/toml_reader.cc", "tools/prism/compose_rules.cc"}},
    {"re2/", {"fs/birth/secret_patterns.cc"}},
    {"systemd/", {"server/"}},
};

constexpr int kLinesMax = 500;
constexpr size_t kColumnsMax = 100;

std::string LayerOf(const std::string& path) {
  std::string best;
  for (const auto& [layer, may] : kMayInclude)
    if (path.rfind(layer + "/", 0) == 0 && layer.size() > best.size()) best = layer;
  return best;
}

struct Source {
  std::string path;  // from the root of the tree
  std::vector<std::string> lines;
};

std::vector<Source> Sources() {
  std::vector<Source> sources;
  const fs::path root = PRISM_SOURCE_DIR;
  for (const char* top : {"fs", "cow", "clone", "vrpc", "server", "tools", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      std::string extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".cc" && extension != ".h")) continue;
      Source source{fs::relative(entry.path(), root), {}};
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) source.lines.push_back(line);
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

TEST(LayersTest, IncludesPointDownwardsOnly) {
  const std::regex include("^#include \"([^\"]+)\"");
  int seen = 0;
  for (const Source& source : Sources()) {
    std::string layer = LayerOf(source.path);
    for (const std::string& line : source.lines) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      ++seen;
      std::string target = LayerOf(match[1]);
      bool is_test = source.path.rfind("tests/", 0) == 0;
      if (is_test) continue;
      EXPECT_FALSE(target.empty()) << source.path << " includes " << match[1];
      EXPECT_TRUE(target == layer || kMayInclude.at(layer).contains(target))
          << source.path << " (" << layer << ") must not include " << match[1];
    }
  }
  EXPECT_GT(seen, 100);  // the check sees the tree
}

TEST(LayersTest, LibrariesAreSeenInOnePlace) {
  for (const Source& source : Sources()) {
    if (source.path.rfind("tests/", 0) == 0) continue;
    for (const std::string& line : source.lines) {
      if (line.rfind("#include <", 0) != 0) continue;
      std::string header = line.substr(10);
      for (const auto& [prefix, places] : kOnlyIn) {
        if (header.rfind(prefix, 0) != 0) continue;
        const bool allowed = std::any_of(places.begin(), places.end(), [&](const auto& place) {
          return source.path.rfind(place, 0) == 0;
        });
        EXPECT_TRUE(allowed) << source.path << " includes <" << header;
      }
    }
  }
}

TEST(LayersTest, FilesStaySmall) {
  for (const Source& source : Sources()) {
    EXPECT_LE(source.lines.size(), static_cast<size_t>(kLinesMax)) << source.path;
    for (size_t i = 0; i < source.lines.size(); ++i)
      EXPECT_LE(source.lines[i].size(), kColumnsMax) << source.path << ":" << i + 1;
  }
}

TEST(LayersTest, OwnHeaderComesFirst) {
  const std::regex include("^#include [\"<]([^\">]+)[\">]");
  for (const Source& source : Sources()) {
    if (!source.path.ends_with(".cc")) continue;
    std::string own = source.path.substr(0, source.path.size() - 3) + ".h";
    if (!fs::exists(fs::path(PRISM_SOURCE_DIR) / own)) continue;
    for (const std::string& line : source.lines) {
      std::smatch match;
      if (!std::regex_search(line, match, include)) continue;
      EXPECT_EQ(match[1], own) << source.path;
      break;
    }
  }
}

}  // namespace
