// A server with the echo program, and clients.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "server/rpc/server.h"
#include "tests/rpc/echo_program.h"
#include "tests/rpc/raw_client.h"
#include "tests/support/result.h"

namespace prism::rpc {

class RpcFixture : public ::testing::Test {
 protected:
  void StartServer(RpcOptions options = {}) {
    options.listen = "127.0.0.1:0";
    if (options.programs.empty()) options.programs = {echo_};
    auto server = RpcServer::Start(std::move(options));
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  void TearDown() override {
    echo_->Open(1 << 20);
    server_.reset();
    EXPECT_EQ(EchoProgram::payloads, 0);
  }
  RawClient Connect() { return RawClient(server_->address()); }
  RpcStats Stats() { return server_->Stats(); }
  // What all work leaves behind: nothing.
  bool Idle() {
    return Soon([&] { return Stats().bytes_in_flight == 0; });
  }

  std::shared_ptr<EchoProgram> echo_ = std::make_shared<EchoProgram>();
  std::unique_ptr<RpcServer> server_;
};

}  // namespace prism::rpc
