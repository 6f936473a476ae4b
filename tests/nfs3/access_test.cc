// The rules of who may use an export.
#include "server/nfs3/access.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace prism::nfs3 {
namespace {

rpc::PeerAddress Peer(const char* text, uint16_t port = 700) {
  rpc::PeerAddress peer;
  peer.port = port;
  if (::inet_pton(AF_INET6, text, peer.ip.data()) == 1) return peer;
  peer.ip[10] = peer.ip[11] = 0xff;
  EXPECT_EQ(::inet_pton(AF_INET, text, &peer.ip[12]), 1) << text;
  return peer;
}

AccessRules Rules(std::string_view text) {
  auto rules = AccessRules::Parse(text);
  EXPECT_TRUE(rules) << rules.error().message;
  return rules ? *rules : AccessRules();
}

TEST(AccessTest, TheDefaultIsRootOfThisHostAlone) {
  const AccessRules rules = Rules("");
  EXPECT_NE(rules.Find(Peer("127.0.0.1")), nullptr);
  EXPECT_NE(rules.Find(Peer("127.3.2.1")), nullptr);
  EXPECT_NE(rules.Find(Peer("::1")), nullptr);
  EXPECT_EQ(rules.Find(Peer("127.0.0.1", 1024)), nullptr) << "an unprivileged port";
  EXPECT_EQ(rules.Find(Peer("10.0.2.15")), nullptr);
  EXPECT_EQ(rules.Find(Peer("fd00::1")), nullptr);
  EXPECT_EQ(rules.Find(Peer("::7f00:1")), nullptr) << "::127.0.0.1 is not 127.0.0.1";
}

TEST(AccessTest, TheFirstRuleThatFitsDecides) {
  const AccessRules rules =
      Rules("10.1.2.3(ro) 10.1.0.0/20(rw,root_squash) fd00::/9(insecure) 10.1.0.0/16(all_squash)");
  EXPECT_TRUE(rules.Find(Peer("10.1.2.3"))->read_only);
  EXPECT_EQ(rules.Find(Peer("10.1.15.255"))->squash, AccessRule::Squash::kRoot);
  EXPECT_EQ(rules.Find(Peer("10.1.16.0"))->squash, AccessRule::Squash::kAll);
  EXPECT_EQ(rules.Find(Peer("10.2.0.0")), nullptr);
  EXPECT_NE(rules.Find(Peer("fd7f::1", 40000)), nullptr);
  EXPECT_EQ(rules.Find(Peer("fd80::1", 40000)), nullptr);
  // A port that the fitting rule refuses is refused, whatever comes behind.
  EXPECT_EQ(Rules("10.0.0.1 *(insecure)").Find(Peer("10.0.0.1", 5000)), nullptr);
}

TEST(AccessTest, EverythingIsOfBothFamilies) {
  const AccessRules rules = Rules("*(insecure)");
  EXPECT_NE(rules.Find(Peer("192.0.2.1", 5000)), nullptr);
  EXPECT_NE(rules.Find(Peer("2001:db8::1", 5000)), nullptr);
  EXPECT_EQ(Rules("0.0.0.0/0").Find(Peer("2001:db8::1")), nullptr);
  EXPECT_NE(Rules("0.0.0.0/0").Find(Peer("192.0.2.1")), nullptr);
}

TEST(AccessTest, TextIsReadAgainAsTheSame) {
  for (const char* text :
       {"", "*", "10.0.0.0/8(ro,all_squash,anonuid=12,anongid=0,insecure) ::1(root_squash)",
        "fd00::/8", "1.2.3.4", "0.0.0.0/0(insecure)", "::/0"}) {
    const std::string once = Rules(text).Text();
    EXPECT_EQ(Rules(once).Text(), once) << text;
  }
  EXPECT_EQ(Rules("10.0.0.0/8(ro,all_squash,anonuid=12,anongid=0,insecure)").Text(),
            "10.0.0.0/8(ro,all_squash,insecure,anonuid=12,anongid=0)");
}

TEST(AccessTest, WhatIsNoRuleIsRefusedWithWords) {
  for (const char* text : {"host.example", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1",
                           "10.0.0/8", "*(", "*(rw", "*(rw,,ro)", "*(no_such)", "*(anonuid=)",
                           "*(anonuid=4294967296)", "*(anonuid=1x)", "()", "*()x"}) {
    auto rules = AccessRules::Parse(text);
    ASSERT_FALSE(rules) << text;
    EXPECT_EQ(rules.error().code, Err::kInvalid) << text;
    EXPECT_NE(rules.error().message.find('"'), std::string::npos) << rules.error().message;
  }
  std::string many;
  for (size_t i = 0; i <= AccessRules::kRulesMax; ++i) many += "* ";
  EXPECT_FALSE(AccessRules::Parse(many));
}

TEST(AccessTest, Squashing) {
  rpc::Credentials root{.auth_sys = true, .uid = 0, .gid = 0, .groups = {0, 5}, .group_count = 2};
  rpc::Credentials user{.auth_sys = true, .uid = 7, .gid = 0, .groups = {8}, .group_count = 1};
  auto squash = [](const char* options, const rpc::Credentials& credentials) {
    return Squash(*ParseRule(std::string("*(") + options + ")"), credentials);
  };
  EXPECT_EQ(squash("no_root_squash", root).uid, 0u);
  EXPECT_EQ(squash("no_root_squash", root).group_count, 2u);
  const Identity squashed = squash("root_squash,anonuid=90,anongid=91", root);
  EXPECT_EQ(squashed.uid, 90u);
  EXPECT_EQ(squashed.gid, 91u);
  ASSERT_EQ(squashed.group_count, 1u);
  EXPECT_EQ(squashed.groups[0], 5u);
  EXPECT_EQ(squash("root_squash", user).uid, 7u);
  EXPECT_EQ(squash("root_squash", user).gid, rpc::kNobody);
  EXPECT_EQ(squash("all_squash", user).uid, rpc::kNobody);
  EXPECT_EQ(squash("all_squash", user).group_count, 0u);
  EXPECT_EQ(squash("no_root_squash", rpc::Credentials{}).uid, rpc::kNobody) << "AUTH_NONE";
}

}  // namespace
}  // namespace prism::nfs3
