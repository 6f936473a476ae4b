// Random and mutated streams against a server that goes on: a smoke test, seeded, of a few seconds.
#include <random>

#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

constexpr uint32_t kStreams = 100'000;     // through the reader and the decoder
constexpr uint32_t kSocketStreams = 3'000;  // through a server

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  uint32_t Below(uint32_t bound) { return random_() % bound; }
  // One to four calls, in fragments, more or less damaged.
  Bytes Stream() {
    Bytes stream;
    for (uint32_t calls = 1 + Below(4); calls > 0; --calls) {
      const Bytes call = Call();
      stream.insert(stream.end(), call.begin(), call.end());
    }
    if (Below(8) == 0) stream = Noise(1 + Below(300));
    for (uint32_t changes = Below(4); changes > 0 && !stream.empty(); --changes) Damage(stream);
    return stream;
  }

 private:
  Bytes Noise(size_t size_bytes) {
    Bytes noise(size_bytes);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random_());
    return noise;
  }
  Bytes Call() {
    static constexpr uint32_t kHarmless[] = {kNull, kEcho, kWho, kPayload, kGap, kCreate, kGarbage};
    CallSpec spec{.xid = Below(50), .procedure = kHarmless[Below(7)]};
    if (Below(2) == 0) {
      spec.flavor = Below(10) == 0 ? Below(9) : 1;
      spec.credentials = AuthSys(Below(5), Below(5), std::vector<uint32_t>(Below(18), 3),
                                 std::string(Below(20), 'x'));
    }
    spec.args = spec.procedure == kPayload ? Words({Below(5000)}) : Noise(4 * Below(30));
    const Bytes record = EncodeCall(spec);
    const std::span<const std::byte> all(record);
    Bytes stream;
    for (size_t at = 0; at < all.size();) {
      const size_t length =
          Below(2) == 0 ? all.size() - at : std::min<size_t>(Below(40), all.size() - at);
      const Bytes part = Fragment(all.subspan(at, length), at + length == all.size());
      stream.insert(stream.end(), part.begin(), part.end());
      at += length;
    }
    return stream;
  }
  void Damage(Bytes& stream) {
    const size_t at = Below(static_cast<uint32_t>(stream.size()));
    switch (Below(5)) {
      case 0:
        stream[at] ^= static_cast<std::byte>(1u << Below(8));
        return;
      case 1:
        stream[at] = static_cast<std::byte>(random_());
        return;
      case 2:
        stream.resize(at);
        return;
      case 3:
        stream.insert(stream.begin() + static_cast<ptrdiff_t>(at), std::byte{0xff});
        return;
      case 4:  // a word of a length, perhaps
        for (size_t i = at & ~size_t{3}; i < stream.size() && i < (at & ~size_t{3}) + 4; ++i)
          stream[i] = static_cast<std::byte>(Below(3) == 0 ? 0xff : 0);
        return;
    }
  }

  std::mt19937 random_;
};

// Every reply must have come from a record: the reader and the decoder agree on bounds.
TEST(FuzzTest, ReaderAndDecoder) {
  Mutator mutate(20260101);
  Budget overall(1 << 20);
  auto client = std::make_shared<Client>(PeerAddress{}, 1 << 20, overall);
  uint32_t calls = 0, broken = 0;
  for (uint32_t i = 0; i < kStreams; ++i) {
    const Bytes stream = mutate.Stream();
    RecordReader reader(64 << 10, client);
    RecordBuffer storage;
    for (size_t at = 0;;) {
      const RecordReader::State state = reader.Poll();
      if (state == RecordReader::State::kBroken) {
        ++broken;
        break;
      }
      if (state == RecordReader::State::kRecord) {
        ASSERT_LE(reader.record().size(), 64u << 10);
        CallHeader call;
        if (DecodeCall(reader.record(), call)) {
          ++calls;
          ASSERT_LE(call.args.size(), reader.record().size());
          ASSERT_LE(call.credentials.group_count, kAuthGroupsMax);
          ASSERT_LE(call.credentials.machine_name.size(), kMachineNameMax);
        }
        if (mutate.Below(2) == 0)
          reader.Pop();
        else
          reader.Take(storage);
        continue;
      }
      if (at == stream.size()) break;
      const auto space = reader.Space();
      const size_t length =
          std::min({size_t{1} + mutate.Below(100), space.size(), stream.size() - at});
      std::copy_n(stream.begin() + static_cast<ptrdiff_t>(at), length, space.begin());
      reader.Filled(length);
      at += length;
    }
  }
  // The test sees what it is meant for.
  EXPECT_GT(calls, kStreams / 2);
  EXPECT_GT(broken, kStreams / 20);
  EXPECT_EQ(overall.used_bytes(), 0u);
}

class FuzzServerTest : public RpcFixture {};

TEST_F(FuzzServerTest, TheServerGoesOn) {
  StartServer({.workers = 4, .connections_per_client_max = 32, .record_timeout_ms = 1000});
  Mutator mutate(20260102);
  std::vector<RawClient> open(16);
  for (uint32_t i = 0; i < kSocketStreams; ++i) {
    RawClient& client = open[mutate.Below(16)];
    if (!client.connected() || mutate.Below(3) == 0) client = Connect();
    const Bytes stream = mutate.Stream();
    if (!client.connected()) continue;
    if (client.SendSome(stream) < stream.size()) client.Close();
    if (mutate.Below(4) == 0 && client.connected()) {  // takes some of what came
      std::byte sink[2000];
      (void)::recv(client.fd(), sink, sizeof sink, MSG_DONTWAIT);
    }
    if (i % 500 == 0) {
      RawClient good = RawClient::From("127.0.0.2", server_->address());
      auto reply = good.Call({.xid = i, .procedure = kEcho, .args = Words({i})});
      ASSERT_TRUE(reply);
      EXPECT_EQ(reply->word(), i);
    }
  }
  open.clear();
  EXPECT_TRUE(Soon([&] { return Stats().connections == 0; }));
  EXPECT_TRUE(Idle());
  EXPECT_GT(Stats().calls, kSocketStreams / 2);
  EXPECT_GT(Stats().connections_broken, kSocketStreams / 50);
}

}  // namespace
}  // namespace prism::rpc
