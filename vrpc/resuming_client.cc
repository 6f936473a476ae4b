#include "vrpc/resuming_client.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "vrpc/handshake.h"

namespace prism::vrpc {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kSyncInterval{1000};  // how long what is unstable may stay so
constexpr milliseconds kRetryMin{20};
constexpr milliseconds kRetryMax{500};

// Will another attempt help?
bool IsWorthRetrying(Err error) {
  switch (error) {
    case Err::kDisconnected:
    case Err::kTimedOut:
    case Err::kAgain:
    case Err::kBusy:
    case Err::kIo:
      return true;
    default:
      return false;
  }
}

}  // namespace

void ResumingClient::Relay::OnEvent(const fs::Event& event) {
  if (event.kind == fs::Event::Kind::kLockGranted) owner_.locks_.WaitGranted(event.cookie);
  owner_.Tell(event);
}

ResumingClient::ResumingClient(EndpointFactory endpoints, ConnectOptions options,
                               const ResumeOptions& resume)
    : endpoints_(std::move(endpoints)), options_(std::move(options)), resume_(resume) {}

Outcome<std::shared_ptr<ResumingClient>> ResumingClient::Connect(EndpointFactory endpoints,
                                                                 ConnectOptions options,
                                                                 const ResumeOptions& resume) {
  if (options.client == 0) options.client = RandomNumber();
  std::shared_ptr<ResumingClient> self(
      new ResumingClient(std::move(endpoints), std::move(options), resume));
  PRISM_ASSIGN(self->client_, Client::Connect(self->endpoints_, self->options_));
  self->durability_epoch_ = self->client_->durability_epoch();
  self->Listen(*self->client_);
  self->keeper_ = std::thread([raw = self.get()] { raw->Keep(); });
  ::pthread_setname_np(self->keeper_.native_handle(), "vrpc-resume");
  return self;
}

ResumingClient::~ResumingClient() {
  Disconnect();
  if (keeper_.joinable()) keeper_.join();
}

void ResumingClient::Disconnect() {
  std::shared_ptr<Client> last;
  {
    std::lock_guard lock(mutex_);
    stopping_ = ended_ = true;
    last = std::exchange(client_, nullptr);
    changed_.notify_all();
  }
  if (last == nullptr) return;
  last->SetDisconnectCallback(nullptr);
  last->Disconnect();
}

void ResumingClient::SetEndCallback(std::function<void(const std::string&)> callback) {
  std::lock_guard lock(mutex_);
  end_callback_ = std::move(callback);
  if (end_callback_ && !end_reason_.empty()) end_callback_(end_reason_);
}

void ResumingClient::SetListener(fs::EventListener* listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = listener;
}

void ResumingClient::Tell(const fs::Event& event) {
  std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_->OnEvent(event);
}

// The callback only wakes the keeper: a client must not be destroyed on its own thread for less.
void ResumingClient::Listen(Client& client) {
  client.SetListener(&relay_);
  client.SetDisconnectCallback([this] {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  });
}

ResumingClient::Live ResumingClient::Current() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return client_ != nullptr || ended_; });
  return {client_, generation_.load(std::memory_order_relaxed)};
}

void ResumingClient::Lost(const std::shared_ptr<Client>& client) {
  std::lock_guard lock(mutex_);
  if (client_ != client) return;
  client_.reset();
  generation_.fetch_add(1, std::memory_order_release);
  changed_.notify_all();
}

void ResumingClient::Keep() {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    if (client_ != nullptr && client_->connected()) changed_.wait_for(lock, kSyncInterval);
    if (ended_) break;
    std::shared_ptr<Client> client = client_;
    const bool lost = client == nullptr || !client->connected();
    lock.unlock();
    if (lost && client != nullptr) Lost(client);
    if (!lost && unsynced_.bytes() > 0) {
      const uint64_t mark = unsynced_.Mark();
      if (client->Sync(fs::Caller{})) unsynced_.Forget(0, mark);
    }
    client.reset();
    lock.lock();
    if (lost) Resume(lock);
  }
}

void ResumingClient::Resume(std::unique_lock<std::mutex>& lock) {
  spdlog::warn("volume '{}': the server is gone; waiting for it", options_.volume);
  const Clock::time_point start = Clock::now();
  milliseconds pause = kRetryMin;
  while (!ended_) {
    lock.unlock();
    Outcome<std::shared_ptr<Client>> made = TryResume();
    lock.lock();
    if (ended_) {
      lock.unlock();  // its end waits for its thread, which may wait for the lock
      made = Explain(Err::kDisconnected, "the end");
      lock.lock();
      return;
    }
    if (made) {
      client_ = *made;
      changed_.notify_all();
      spdlog::info("volume '{}': resumed after {} ms", options_.volume,
                   std::chrono::duration_cast<milliseconds>(Clock::now() - start).count());
      return;
    }
    const Failure& failure = made.error();
    if (!IsWorthRetrying(failure.code)) return End(failure.message);
    if (Clock::now() - start >= milliseconds(resume_.patience_ms))
      return End(fmt::format("it did not come back: {}", failure.message));
    changed_.wait_for(lock, pause, [this] { return ended_; });
    pause = std::min(2 * pause, kRetryMax);
  }
}

Outcome<std::shared_ptr<Client>> ResumingClient::TryResume() {
  ConnectOptions options = options_;
  options.resume = true;
  PRISM_ASSIGN(std::shared_ptr<Client> client, Client::Connect(endpoints_, options));
  Listen(*client);
  Status restored = Restore(*client);
  if (!restored || !client->connected()) {
    client->SetDisconnectCallback(nullptr);
    return Explain(Err::kDisconnected, "the server went away again");
  }
  return client;
}

Status ResumingClient::Restore(Client& client) {
  if (client.durability_epoch() != durability_epoch_) {
    PRISM_TRY(unsynced_.Replay(client));
    durability_epoch_ = client.durability_epoch();
  }
  PRISM_TRY(locks_.Replay(client, [this](const fs::Event& event) { relay_.OnEvent(event); }));
  Tell({.kind = fs::Event::Kind::kAll, .ino = 0, .name = {}});
  return {};
}

void ResumingClient::End(const std::string& reason) {
  ended_ = true;
  end_reason_ = reason;
  changed_.notify_all();
  if (end_callback_) end_callback_(reason);
}

}  // namespace prism::vrpc
