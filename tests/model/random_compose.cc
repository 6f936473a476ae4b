#include "tests/model/random_compose.h"

#include <fmt/format.h>

namespace prism::model {
namespace {

using Rule = fs::ComposeRule;

void ListBelow(fs::FileSystem& volume, InodeId dir, const std::string& path,
               ComposeSource& source) {
  source.directories.push_back(path.empty() ? "/" : path);
  Operation list;
  list.kind = OpKind::kReaddir;
  list.with_attr = true;
  const Reply reply = Perform(volume, list, dir, 0);
  size_t at = 0;
  for (const fs::Attr& attr : reply.attrs) {
    const size_t end = reply.text.find('\n', at);
    const std::string below = path + "/" + reply.text.substr(at, end - at);
    at = end + 1;
    if (attr.type == fs::FileType::kDirectory)
      ListBelow(volume, attr.ino, below, source);
    else
      source.files.push_back(below);
  }
}

std::string DrawExisting(Random& random, const ComposeSource& source) {
  if (!source.files.empty() && random.OneIn(3)) return random.Pick(source.files);
  return random.Pick(source.directories);
}

std::string DrawDirectory(Random& random, const ComposeSource& source) {
  return random.OneIn(12) ? DrawExisting(random, source) : random.Pick(source.directories);
}

// What is there, or something new in it, below what is not there.
std::string DrawTarget(Random& random, const ComposeSource& source) {
  if (random.OneIn(3)) return DrawExisting(random, source);
  std::string path = DrawDirectory(random, source);
  if (path == "/") path.clear();
  if (random.OneIn(4)) path += fmt::format("/p{}", random.Below(3));
  return path + fmt::format("/n{}", random.Below(12));
}

std::string DrawPattern(Random& random, const ComposeSource& source) {
  std::string path = DrawExisting(random, source);
  if (!random.OneIn(3)) return path;
  const size_t slash = path.rfind('/');
  const std::string above = path.substr(0, slash);
  const std::string name = random.Pick<std::string>({"n*", "*1", "n[2-5]", "n?", "*"});
  if (above.empty() || random.OneIn(2)) return above + "/" + name;
  return above.substr(0, above.rfind('/')) + "/" + name + path.substr(slash);
}

}  // namespace

ComposeSource ListPaths(const std::string& name, fs::FileSystem& volume) {
  ComposeSource source{name, {}, {}};
  ListBelow(volume, kRootInode, {}, source);
  return source;
}

fs::ComposeOptions DrawCompose(Random& random, const std::vector<ComposeSource>& sources) {
  fs::ComposeOptions options;
  // Where there is no base the first source's paths serve as well as any.
  const ComposeSource& base = sources.front();
  if (!random.OneIn(3)) options.base = base.name;
  for (uint64_t left = random.Below(5); left > 0; --left) {
    Rule rule;
    switch (random.Below(8)) {
      case 0:
      case 1:
        rule.kind = Rule::Kind::kExclude;
        rule.path = DrawPattern(random, base);
        break;
      case 2:
      case 3:
        rule.kind = random.OneIn(3) ? Rule::Kind::kEmpty : Rule::Kind::kVolatile;
        rule.path = DrawTarget(random, base);
        break;
      default: {
        const ComposeSource& source = random.Pick(sources);
        rule.source = source.name;
        rule.from = DrawExisting(random, source);
        rule.path = DrawTarget(random, base);
        rule.read_only = random.OneIn(6);
      }
    }
    options.rules.push_back(std::move(rule));
  }
  return options;
}

std::string Describe(const fs::ComposeOptions& options) {
  std::string text = options.base.empty() ? "" : " --from " + options.base;
  static constexpr const char* kKinds[] = {"graft", "exclude", "empty", "volatile"};
  for (const Rule& rule : options.rules)
    text += fmt::format(" --{} {}:{}={}{}", kKinds[static_cast<size_t>(rule.kind)], rule.source,
                        rule.from, rule.path, rule.read_only ? ",ro" : "");
  return text;
}

}  // namespace prism::model
