#include "fs/mount/own_changes.h"

#include <gtest/gtest.h>

namespace prism::mount {
namespace {

fs::Attr Attr(InodeId ino, uint64_t change) { return fs::Attr{.ino = ino, .change = change}; }

uint64_t ChangeOf(OwnChanges& own, InodeId ino) {
  auto attr = own.AttrOf(ino);
  return attr ? attr->change : 0;
}

TEST(OwnChanges, KnowsWhatTheOperationReturned) {
  OwnChanges own;
  EXPECT_EQ(ChangeOf(own, 7), 0u);
  own.Tell(7, own.Begin(7), Attr(7, 5));
  EXPECT_EQ(ChangeOf(own, 7), 5u);
  EXPECT_EQ(ChangeOf(own, 7 + 256), 0u);  // of the same place
}

TEST(OwnChanges, TheNextOperationEndsIt) {
  OwnChanges own;
  own.Tell(7, own.Begin(7), Attr(7, 5));
  uint64_t ticket = own.Begin(7);
  EXPECT_EQ(ChangeOf(own, 7), 0u);
  own.Tell(7, ticket, Attr(7, 6));
  EXPECT_EQ(ChangeOf(own, 7), 6u);
}

TEST(OwnChanges, OfTwoAtOnceNeitherIsBelieved) {
  OwnChanges own;
  uint64_t first = own.Begin(7);
  uint64_t second = own.Begin(7);
  own.Tell(7, second, Attr(7, 5));
  own.Tell(7, first, Attr(7, 6));
  EXPECT_EQ(ChangeOf(own, 7), 0u);

  first = own.Begin(7);
  second = own.Begin(7);
  own.Tell(7, first, Attr(7, 7));
  own.Tell(7, second, Attr(7, 8));
  EXPECT_EQ(ChangeOf(own, 7), 0u);
}

TEST(OwnChanges, ForeignChangesEndIt) {
  OwnChanges own;
  for (auto kind : {fs::Event::Kind::kInode, fs::Event::Kind::kEntry, fs::Event::Kind::kAll}) {
    const fs::Event event{.kind = kind, .ino = kind == fs::Event::Kind::kAll ? 0u : 7u, .name = {}};
    own.Tell(7, own.Begin(7), Attr(7, 5));
    own.OnEvent(event);
    EXPECT_EQ(ChangeOf(own, 7), 0u);
    uint64_t ticket = own.Begin(7);
    own.OnEvent(event);  // while the operation is under way
    own.Tell(7, ticket, Attr(7, 5));
    EXPECT_EQ(ChangeOf(own, 7), 0u);
    own.Made(7);
    own.OnEvent(event);
    EXPECT_FALSE(own.HasNoCapability(7));
  }
}

TEST(OwnChanges, ANewFileHasNoCapabilityUntilItIsChanged) {
  OwnChanges own;
  EXPECT_FALSE(own.HasNoCapability(7));
  own.Made(7);
  EXPECT_TRUE(own.HasNoCapability(7));
  EXPECT_FALSE(own.HasNoCapability(7 + 256));
  own.Forget(7);
  EXPECT_FALSE(own.HasNoCapability(7));
}

TEST(OwnChanges, AnotherInodesAttributesAreNotTaken) {
  OwnChanges own;
  own.Tell(7, own.Begin(7), Attr(8, 5));
  EXPECT_EQ(ChangeOf(own, 7), 0u);
  EXPECT_EQ(ChangeOf(own, 8), 0u);
}

}  // namespace
}  // namespace prism::mount
