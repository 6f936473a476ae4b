#include "tools/prism-mount/tcp_mount.h"

#include <gtest/gtest.h>

namespace prism::guest {
namespace {

TcpMountOptions At(const std::string& server) {
  return {.server = server, .volume = "vm-1", .directory = "/mnt"};
}

TEST(TcpMountTest, OptionsOfMount2) {
  auto source = NfsSourceOf(At("10.0.2.2:20049"));
  ASSERT_TRUE(source.has_value());
  EXPECT_EQ(source->source, "10.0.2.2:/vm-1");
  EXPECT_EQ(source->options,
            "vers=3,hard,proto=tcp,port=20049,mountproto=tcp,mountport=20049,addr=10.0.2.2");
  TcpMountOptions local = At("10.0.2.2:20049");
  local.share_locks = false;
  EXPECT_TRUE(NfsSourceOf(local)->options.ends_with(",nolock"));
}

TEST(TcpMountTest, ServersByIpv6) {
  auto source = NfsSourceOf(At("[fd00::2]:2049"));
  ASSERT_TRUE(source.has_value());
  EXPECT_EQ(source->source, "[fd00::2]:/vm-1");
  EXPECT_EQ(source->options,
            "vers=3,hard,proto=tcp6,port=2049,mountproto=tcp6,mountport=2049,addr=fd00::2");
}

TEST(TcpMountTest, WhatIsNoServer) {
  for (const char* server : {"10.0.2.2", "10.0.2.2:", ":2049", "10.0.2.2:0", "10.0.2.2:65536",
                             "10.0.2.2:20x", "10.0.2.2:-1", "10.0.2:2049", "fd00::2:2049",
                             "[10.0.2.2]:2049", "[fd00::2]", "host:2049", "10.0.2.2,ro:2049", ""})
    EXPECT_FALSE(NfsSourceOf(At(server)).has_value()) << server;
}

TEST(TcpMountTest, ServerOnTheCommandLine) {
  EXPECT_EQ(ServerOfCommandLine("quiet prism.server=10.0.2.2:2049 panic=-1\n"), "10.0.2.2:2049");
  EXPECT_EQ(ServerOfCommandLine("prism.server=10.0.2.2:2049\n"), "10.0.2.2:2049");
  EXPECT_EQ(ServerOfCommandLine("not.prism.server=1 prism.servers=2  quiet\n"), "");
  EXPECT_EQ(ServerOfCommandLine(""), "");
}

}  // namespace
}  // namespace prism::guest
