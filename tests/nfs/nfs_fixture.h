// A server's NFS front end in this process, on a store of its own, and calls made byte by byte:
// for what libnfs would never send, and to look at every field of a reply.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/nfs3/types.h"
#include "server/nfs_service.h"
#include "server/rpc/xdr.h"
#include "tests/rpc/raw_client.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::nfs3 {

using rpc::Bytes;
using rpc::XdrReader;
using rpc::XdrWriter;

struct Time {
  uint32_t sec = 0, nsec = 0;
  auto operator<=>(const Time&) const = default;
};

struct Fattr {
  uint32_t type = 0, mode = 0, nlink = 0, uid = 0, gid = 0;
  uint64_t size = 0, used = 0, fsid = 0, fileid = 0;
  Time atime, mtime, ctime;
  bool operator==(const Fattr&) const = default;
};

struct PreAttr {
  uint64_t size = 0;
  Time mtime, ctime;
  bool operator==(const PreAttr&) const = default;
};
inline PreAttr PreOf(const Fattr& attr) { return {attr.size, attr.mtime, attr.ctime}; }

struct Wcc {
  std::optional<PreAttr> before;
  std::optional<Fattr> after;
};

// A reply's results after the status.
class Results {
 public:
  Results(uint32_t status, Bytes bytes) : status_(status), bytes_(std::move(bytes)), in_(bytes_) {}
  Results(const Results&) = delete;

  uint32_t status() const { return status_; }
  XdrReader& in() { return in_; }
  Fattr GetFattr();
  std::optional<Fattr> GetPostOp();
  Wcc GetWcc();
  std::string GetHandle();
  std::optional<std::string> GetPostOpHandle();
  // All was read and nothing was missing.
  bool Finished() const { return in_.Finished(); }

 private:
  uint32_t status_;
  Bytes bytes_;
  XdrReader in_;
};

// Arguments of a call.
class Args {
 public:
  Args() = default;
  Args(const Args& other) : bytes_(other.bytes_) {}
  Args& U32(uint32_t value) { return out_.U32(value), *this; }
  Args& U64(uint64_t value) { return out_.U64(value), *this; }
  Args& Text(std::string_view text) { return out_.String(text), *this; }
  // sattr3 that sets nothing but, perhaps, the mode and the size.
  Args& Sattr(std::optional<uint32_t> mode = {}, std::optional<uint64_t> size = {});
  operator const Bytes&() const { return bytes_; }

 private:
  Bytes bytes_;
  XdrWriter out_{bytes_};
};
// diropargs3.
inline Args Where(std::string_view dir, std::string_view name) {
  return Args().Text(dir).Text(name);
}

struct User {
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups = {};
};

// One connection.
class Client {
 public:
  explicit Client(const rpc::PeerAddress& server) : raw_(server) {}

  // The results, or a failure of the test and status ~0 when there are none.
  Results Nfs(uint32_t procedure, const Bytes& args, std::optional<uint32_t> xid = {});
  Results Mount(uint32_t procedure, const Bytes& args);
  // The reply as it is, refusals too.
  std::optional<rpc::RawReply> Call(uint32_t program, uint32_t procedure, const Bytes& args,
                                    std::optional<uint32_t> xid = {});
  void Become(const User& user) { user_ = user; }
  rpc::RawClient& raw() { return raw_; }

  // Short words for what tests do most; the calls must succeed.
  Fattr Getattr(std::string_view handle);
  std::string Lookup(std::string_view dir, std::string_view name);
  std::string Create(std::string_view dir, std::string_view name);
  std::string Mkdir(std::string_view dir, std::string_view name);
  uint32_t StatusOf(uint32_t procedure, const Bytes& args) { return Nfs(procedure, args).status(); }

 private:
  rpc::RawClient raw_;
  User user_;
  static uint32_t next_xid_;
};

inline constexpr char kVolume[] = "volume";

class NfsFixture : public ::testing::Test {
 protected:
  NfsFixture();
  // Cleanly, or as after a crash that lost nothing: the store is opened again, clients connect
  // anew.
  void Restart();
  Client Connect() { return Client(service_->address()); }
  // By MNT.
  std::string RootOf(const std::string& volume);

  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::unique_ptr<Exports> exports_;
  std::unique_ptr<server::NfsService> service_;
  std::string root_;  // the handle of kVolume's root

 private:
  void Open();
  void Close();
};

}  // namespace prism::nfs3
