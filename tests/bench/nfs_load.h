// A closed loop of NFSv3 calls over several connections from one thread, by libnfs's raw API, so
// that two servers are given exactly the same load. Ends the benchmark (Die) on any error, on a
// reply that is not the expected one and on a server that is silent for kSilenceMs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct rpc_context;

namespace prism::bench {

inline constexpr int kSilenceMs = 30000;

struct Endpoint {
  std::string host = "127.0.0.1";
  int port = 0;
  int mount_port = 0;
  std::string path;  // of the export
};

class Job;
class Load;

// One outstanding call at a time, again and again. `index` counts all calls of the row.
struct Call {
  Load* load = nullptr;
  Job* job = nullptr;
  rpc_context* rpc = nullptr;
  int connection = 0;
  int index = 0;
  uint64_t start_ns = 0;
};

// `rpc_cb` of every call: pass it to rpc_nfs3_*_async with the Call as its data.
void OnReply(rpc_context* rpc, int status, void* reply, void* call);

// What a row does.
class Job {
 public:
  virtual ~Job() = default;
  // Queues the next request of `call`; false when this call has nothing left to do.
  virtual bool Send(Call& call) = 0;
  // The same when the row's time is over or Send had nothing left: what belongs to what was done.
  virtual bool Finish(Call&) { return false; }
  // Checks the reply; returns how many operations it stands for (entries of a listing, say).
  virtual uint64_t Receive(Call& call, void* reply) = 0;
};

struct RowResult {
  uint64_t operations = 0;
  double wall_us = 0;
  std::vector<float> latencies_us;  // of single calls
};

class Load {
 public:
  Load() = default;
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Mounts the export and opens the connections; again after the server was restarted.
  void Connect(const Endpoint& endpoint, int connections);
  void Disconnect();

  // `depth` calls outstanding on each of the first `connections`, for `limit_ms` or until the job
  // has nothing left.
  RowResult Run(Job& job, int connections, int depth, int limit_ms);
  // One call: for preparations.
  void Once(Job& job) { Run(job, 1, 1, kSilenceMs); }

  const std::string& root() const { return root_; }  // handle of the export

 private:
  friend void OnReply(rpc_context*, int, void*, void*);
  void Begin(Call& call);
  void End(Call& call, void* reply);
  void Poll(int connections);

  std::vector<rpc_context*> connections_;
  std::string root_;
  RowResult row_;
  uint64_t deadline_ns_ = 0;
  int outstanding_ = 0;
};

}  // namespace prism::bench
