#include "tests/crash/op.h"

#include <fmt/format.h>

#include "fs/base/bytes.h"

namespace prism::crash {

std::string Describe(const Op& op) {
  static constexpr const char* kNames[] = {
      "create",   "mkdir",    "symlink", "fifo",          "write",         "write-sync",
      "truncate", "punch",    "zero",    "copy-range",    "rename",        "exchange",
      "link",     "unlink",   "rmdir",   "set-mode",      "set-owner",     "set-mtime",
      "setxattr", "rmxattr",  "fsync",   "sync",          "volume-create", "clone",
      "snapshot", "rollback", "destroy", "volume-rename", "checkpoint",    "flush",
      "pause"};
  return fmt::format("{} {} {} offset={} length={} tag={} mode={:o}",
                     kNames[static_cast<size_t>(op.kind)], op.path, op.other, op.offset, op.length,
                     op.tag, op.mode);
}

std::string EncodeScript(const Script& script) {
  std::string out;
  ByteWriter writer(out);
  for (const ThreadScript& thread : script) {
    writer.PutString(thread.volume);
    writer.Put(static_cast<uint32_t>(thread.ops.size()));
    for (const Op& op : thread.ops) {
      writer.Put(op.kind);
      writer.PutString(op.path);
      writer.PutString(op.other);
      writer.Put(op.offset);
      writer.Put(op.length);
      writer.Put(op.tag);
      writer.Put(op.mode);
    }
  }
  return out;
}

Script DecodeScript(std::string_view bytes) {
  Script script;
  ByteReader reader(bytes);
  while (reader.remaining() > 0 && !reader.failed()) {
    ThreadScript thread;
    thread.volume = reader.GetString();
    uint32_t count = reader.Get<uint32_t>();
    for (uint32_t i = 0; i < count && !reader.failed(); ++i) {
      Op op;
      op.kind = reader.Get<OpKind>();
      op.path = reader.GetString();
      op.other = reader.GetString();
      op.offset = reader.Get<uint64_t>();
      op.length = reader.Get<uint64_t>();
      op.tag = reader.Get<uint64_t>();
      op.mode = reader.Get<uint32_t>();
      thread.ops.push_back(std::move(op));
    }
    script.push_back(std::move(thread));
  }
  return script;
}

}  // namespace prism::crash
