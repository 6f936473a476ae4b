#include "tests/bench/nfs_load.h"

#include <nfsc/libnfs.h>  // first: the others use its rpc_cb

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw.h>
#include <poll.h>

#include "tests/bench/measure.h"

namespace prism::bench {
namespace {

void Service(rpc_context* rpc, int events) {
  if (rpc_service(rpc, events) < 0) Die(std::string("connection lost: ") + rpc_get_error(rpc));
}

struct Answer {
  bool done = false;
  std::string handle;
};

void OnConnected(rpc_context* rpc, int status, void*, void* answer) {
  if (status != RPC_STATUS_SUCCESS) Die(std::string("cannot connect: ") + rpc_get_error(rpc));
  static_cast<Answer*>(answer)->done = true;
}

void OnMounted(rpc_context* rpc, int status, void* data, void* answer) {
  if (status != RPC_STATUS_SUCCESS) Die(std::string("MNT: ") + rpc_get_error(rpc));
  auto* reply = static_cast<mountres3*>(data);
  if (reply->fhs_status != MNT3_OK)
    Die(std::string("MNT: ") + mountstat3_to_str(reply->fhs_status));
  const fhandle3& handle = reply->mountres3_u.mountinfo.fhandle;
  *static_cast<Answer*>(answer) = {true, std::string(handle.fhandle3_val, handle.fhandle3_len)};
}

void WaitFor(rpc_context* rpc, const Answer& answer) {
  while (!answer.done) {
    pollfd fd{rpc_get_fd(rpc), static_cast<short>(rpc_which_events(rpc)), 0};
    if (poll(&fd, 1, kSilenceMs) <= 0) Die("the server does not answer");
    Service(rpc, fd.revents);
  }
}

rpc_context* Open(const std::string& host, int port) {
  rpc_context* rpc = rpc_init_context();
  Answer connected;
  if (rpc_connect_async(rpc, host.c_str(), port, OnConnected, &connected) != 0)
    Die(std::string("cannot connect: ") + rpc_get_error(rpc));
  WaitFor(rpc, connected);
  return rpc;
}

std::string Mount(const Endpoint& endpoint) {
  rpc_context* rpc = Open(endpoint.host, endpoint.mount_port);
  Answer mounted;
  std::string path = endpoint.path;
  if (rpc_mount3_mnt_async(rpc, OnMounted, path.data(), &mounted) != 0) Die("cannot send MNT");
  WaitFor(rpc, mounted);
  rpc_destroy_context(rpc);
  return mounted.handle;
}

}  // namespace

void OnReply(rpc_context* rpc, int status, void* reply, void* data) {
  if (status == RPC_STATUS_CANCEL) return;
  if (status != RPC_STATUS_SUCCESS) Die(std::string("a call failed: ") + rpc_get_error(rpc));
  Call& call = *static_cast<Call*>(data);
  call.load->End(call, reply);
}

Load::~Load() { Disconnect(); }

void Load::Connect(const Endpoint& endpoint, int connections) {
  Disconnect();
  root_ = Mount(endpoint);
  for (int i = 0; i < connections; ++i) connections_.push_back(Open(endpoint.host, endpoint.port));
}

void Load::Disconnect() {
  for (rpc_context* rpc : connections_) rpc_destroy_context(rpc);
  connections_.clear();
}

void Load::Begin(Call& call) {
  call.start_ns = NowNs();
  if ((call.start_ns < deadline_ns_ && call.job->Send(call)) || call.job->Finish(call))
    ++outstanding_;
}

void Load::End(Call& call, void* reply) {
  --outstanding_;
  row_.operations += call.job->Receive(call, reply);
  row_.latencies_us.push_back(static_cast<float>(NowNs() - call.start_ns) / 1e3f);
  Begin(call);
}

void Load::Poll(int connections) {
  std::vector<pollfd> fds(static_cast<size_t>(connections));
  for (int i = 0; i < connections; ++i) {
    rpc_context* rpc = connections_[static_cast<size_t>(i)];
    fds[static_cast<size_t>(i)] = {rpc_get_fd(rpc), static_cast<short>(rpc_which_events(rpc)), 0};
  }
  if (poll(fds.data(), fds.size(), kSilenceMs) <= 0) Die("the server does not answer");
  for (size_t i = 0; i < fds.size(); ++i) {
    if (fds[i].revents == 0) continue;
    Service(connections_[i], fds[i].revents);
    // What the replies made us send goes out now, not after another poll.
    if (rpc_which_events(connections_[i]) & POLLOUT) Service(connections_[i], POLLOUT);
  }
}

RowResult Load::Run(Job& job, int connections, int depth, int limit_ms) {
  row_ = {};
  std::vector<Call> calls(static_cast<size_t>(connections * depth));
  uint64_t start_ns = NowNs();
  deadline_ns_ = start_ns + static_cast<uint64_t>(limit_ms) * 1000000u;
  for (size_t i = 0; i < calls.size(); ++i) {
    int connection = static_cast<int>(i) % connections;
    calls[i] = {this, &job, connections_[static_cast<size_t>(connection)], connection,
                static_cast<int>(i)};
    Begin(calls[i]);
  }
  while (outstanding_ > 0) Poll(connections);
  row_.wall_us = static_cast<double>(NowNs() - start_ns) / 1e3;
  return std::move(row_);
}

}  // namespace prism::bench
