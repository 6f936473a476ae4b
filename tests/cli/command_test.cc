// The `prism` command and prismd as their users see them: results, exit codes, messages, and that
// nothing half made stays.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <thread>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

bool Has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

class CommandTest : public testing::Test {
 protected:
  void MakeTree(int files) {
    EXPECT_EQ(Shell("mkdir -p " + tree_ + " && cd " + tree_ + " && for i in $(seq " +
                    std::to_string(files) + "); do echo $i > $i; done")
                  .exit_code,
              0);
  }

  TemporaryDirectory directory_;
  const std::string tree_ = directory_ / "tree";
};

TEST_F(CommandTest, ALifeOfVolumes) {
  LiveServer server(directory_.path());
  MakeTree(20);
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("clone base a b c").exit_code, kExitDone);
  EXPECT_EQ(server.Names(), "a b base c");
  EXPECT_EQ(server.Json("show a")["result"]["parent"], "base");
  EXPECT_EQ(server.Json("show a")["result"]["inodes"], 21);
  EXPECT_EQ(server.Prism("rename a web").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("destroy base b c").exit_code, kExitDone);
  EXPECT_EQ(server.Names(), "web");
  ASSERT_EQ(server.Prism("export -q web dir:" + directory_ / "copy").exit_code, kExitDone);
  EXPECT_EQ(Shell("diff -r " + tree_ + " " + directory_ / "copy").output, "");
  EXPECT_EQ(server.Prism("create empty").exit_code, kExitDone);
  EXPECT_TRUE(Has(server.Prism("list").output, "web"));
  EXPECT_TRUE(Has(server.Prism("stat").output, "unique"));
  EXPECT_EQ(server.Json("stat")["result"]["volumes"], 2);
  EXPECT_EQ(server.Prism("lanes").output, "no lane is in use\n");
}

TEST_F(CommandTest, ALifeOfSnapshots) {
  LiveServer server(directory_.path());
  MakeTree(20);
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("clone base 'web{1..3}'").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("snapshot web1@a web2@a").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("snapshot web1@a").exit_code, kExitExists);
  EXPECT_EQ(server.Prism("snapshot web1@short --ttl 1s").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("clone web1@a copy").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("hold web1@a backup").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("destroy -r web1").exit_code, kExitBusy);
  EXPECT_EQ(server.Prism("release web1@a backup").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("rollback web1@a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("export -q web1@a dir:" + directory_ / "copy").exit_code, kExitDone);
  EXPECT_EQ(Shell("diff -r " + tree_ + " " + directory_ / "copy").output, "");
  for (int i = 0; i < 100 && Has(server.Names(), "@short"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(server.Names(), "base copy web1 web1@a web2 web2@a web3");
  EXPECT_EQ(server.Prism("destroy web1").exit_code, kExitBusy);
  EXPECT_EQ(server.Json("destroy -rn base web1 web2 web3")["result"]["would_destroy"], 6);
  EXPECT_EQ(server.Prism("destroy base").exit_code, kExitDone);
  const std::string tree = server.Prism("list --tree").output;
  EXPECT_TRUE(Has(tree, "(base: gone)\n├─ web1 ")) << tree;
  EXPECT_TRUE(Has(tree, "\n│  └─ web1@a ")) << tree;
  EXPECT_TRUE(Has(tree, "\n│     └─ copy ")) << tree;
  EXPECT_EQ(server.Prism("destroy -r 'web{1..3}' copy").exit_code, kExitDone);
  EXPECT_EQ(server.Names(), "");
}

TEST_F(CommandTest, DiffSaysWhatChanged) {
  LiveServer server(directory_.path());
  MakeTree(20);
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("clone a b").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("diff a b").output, "");
  Shell("cd " + tree_ + " && rm 1 && echo new > new && echo changed > 2");
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " c").exit_code, kExitDone);
  const std::string lines = server.Prism("diff --content a c").output;
  EXPECT_TRUE(Has(lines, "- /1\n")) << lines;
  EXPECT_TRUE(Has(lines, "+ /new\n")) << lines;
  EXPECT_TRUE(Has(lines, "M /2 (2 B -> 8 B)\n    0+8\n")) << lines;
  EXPECT_TRUE(Has(server.Prism("diff --stat a c").output,
                  "1 added, 1 removed, 0 renamed, 1 changed in data, "));
  EXPECT_EQ(server.Json("diff a c")["result"]["changed_data"], 1);
  EXPECT_EQ(server.Prism("diff a none").exit_code, kExitNotFound);
  EXPECT_EQ(server.Names(), "a b c") << "what held them still shows";
}

TEST_F(CommandTest, DuCountsWhatIsHeldAlone) {
  LiveServer server(directory_.path());
  ASSERT_EQ(
      Shell("mkdir " + tree_ + " && head -c 1000000 /dev/urandom > " + tree_ + "/f").exit_code, 0);
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  const uint64_t alone = server.Json("du a")["result"][0]["exclusive_bytes"];
  EXPECT_GE(alone, 1000000u);
  ASSERT_EQ(server.Prism("clone a b").exit_code, kExitDone);
  EXPECT_EQ(server.Json("du a")["result"][0]["exclusive_bytes"], 0);
  EXPECT_EQ(server.Json("du --if-destroyed a b")["result"]["bytes"], alone);
  EXPECT_EQ(server.Json("du b")["result"][0]["shared_bytes"], alone);
  EXPECT_TRUE(
      Has(server.Prism("du --csv").output,
          fmt::format("a,2,0,1003520,{0},{0},0,0,true\nb,2,0,1003520,{0},{0},0,0,true\n", alone)))
      << server.Prism("du --csv").output;
  EXPECT_EQ(server.Prism("du none").exit_code, kExitNotFound);
}

TEST_F(CommandTest, AThousandClonesInOneCallAndOnlyOnce) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create base").exit_code, kExitDone);
  const std::string arguments = "clone base 'vm{0001..1000}' --request-key fleet";
  const nlohmann::json first = server.Json(arguments);
  ASSERT_EQ(first["ok"], true) << first;
  EXPECT_EQ(first["result"].size(), 1000u);
  EXPECT_EQ(first["result"][999]["name"], "vm1000");
  EXPECT_EQ(server.Prism("destroy vm0007").exit_code, kExitDone);
  EXPECT_EQ(server.Json(arguments)["result"], first["result"]);
  EXPECT_EQ(server.Json("stat")["result"]["volumes"], 1000);
  EXPECT_NE(server.Prism("clone base other --request-key fleet").exit_code, kExitDone);
}

TEST_F(CommandTest, ExitCodesAndMessages) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create v").exit_code, kExitDone);
  struct Case {
    std::string arguments;
    int exit_code;
    std::string words;
  };
  const std::vector<Case> cases = {
      {"", kExitUsage, "subcommand"},
      {"fly", kExitUsage, ""},
      {"create", kExitUsage, "NAME"},
      {"import zip:x y", kExitUsage, "dir:PATH"},
      {"import dir: y", kExitUsage, "dir:PATH"},
      {"mount v", kExitUsage, "DIR"},
      {"--help", kExitDone, "Exit codes"},
      {"create v", kExitExists, "v"},
      {"create ../v", kExitFailed, "name"},
      {"create \"$(printf 'x\\ny')\"", kExitFailed, "name"},
      {"show absent", kExitNotFound, "absent"},
      {"clone absent x", kExitNotFound, "absent"},
      {"clone v x v", kExitExists, "v"},
      {"clone v x x", kExitFailed, "x"},
      {"destroy v absent", kExitNotFound, "absent"},
      {"rename absent x", kExitNotFound, "absent"},
      {"snapshot v", kExitFailed, "NAME@LABEL"},
      {"snapshot absent@x", kExitNotFound, "absent"},
      {"snapshot v@x --ttl soon", kExitFailed, "soon"},
      {"rollback v@absent", kExitNotFound, "v@absent"},
      {"rollback v@absent --path /etc", kExitNotFound, "v@absent"},
      {"rebase v --onto absent", kExitNotFound, "absent"},
      {"rebase absent --onto v", kExitNotFound, "absent"},
      {"rebase v --onto v", kExitFailed, "twice"},
      {"rebase v", kExitUsage, "--onto"},
      {"rebase v --onto x --on-conflict ours", kExitUsage, "--on-conflict"},
      {"merge v --into absent", kExitNotFound, "absent"},
      {"hold absent tag", kExitNotFound, "absent"},
      {"clone v 'x{1..}'", kExitFailed, "FIRST..LAST"},
      {"clone v 'x{1..99999}'", kExitFailed, "10000"},
      {"export absent tar:/dev/null", kExitNotFound, "absent"},
      {"mount absent /mnt", kExitNotFound, "absent"},
      {"import dir:/absent x", kExitNotFound, "/absent"},
      {"import tar:/absent x", kExitNotFound, "/absent"},
      {"import dir:/etc v", kExitExists, "v"},
      {"umount /usr", kExitFailed, "/usr"},
      {"export v tar:- --json", kExitFailed, "standard output"},
  };
  for (const Case& item : cases) {
    const ShellResult result = server.Prism(item.arguments);
    if (item.arguments == "clone v x x") {
      EXPECT_NE(result.exit_code, kExitDone);
      continue;
    }
    EXPECT_EQ(result.exit_code, item.exit_code) << item.arguments << "\n" << result.output;
    EXPECT_TRUE(Has(result.output, item.words)) << item.arguments << "\n" << result.output;
  }
  EXPECT_EQ(server.Names(), "v") << "something half made stayed";
}

TEST_F(CommandTest, WithoutAServerItSaysWhatToDo) {
  const std::string prism = PRISM_PATH;
  ShellResult result = Shell("PRISM_CONTROL=" + directory_ / "none.sock" + " " + prism + " list");
  EXPECT_EQ(result.exit_code, kExitNoServer);
  EXPECT_TRUE(Has(result.output, "no server answers at " + directory_ / "none.sock"));
  EXPECT_TRUE(Has(result.output, "prismd --store")) << result.output;
  result = Shell(prism + " --control " + directory_ / "none.sock" + " show x --json");
  EXPECT_EQ(result.exit_code, kExitNoServer);
  EXPECT_EQ(nlohmann::json::parse(result.output)["error"], "disconnected");
}

TEST_F(CommandTest, RebaseAndMerge) {
  LiveServer server(directory_.path());
  const std::string one = directory_ / "one", two = directory_ / "two";
  Shell("mkdir " + one + " " + two + "; echo 1 > " + one + "/a; echo 1 > " + one + "/b; echo 1 > " +
        two + "/a");
  // An import is a volume of its own; the clones of one are relatives.
  ASSERT_EQ(server.Prism("import -q dir:" + one + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("import -q dir:" + two + " stranger").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("snapshot base@1").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("clone base@1 'web{1..3}' dev").exit_code, kExitDone);
  ShellResult result = server.Prism("rebase web1 --onto stranger");
  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_TRUE(Has(result.output, "come from nothing that is known to be common")) << result.output;
  // Nothing but clones is to be had without a mount: dev is the new base, as it is.
  result = server.Prism("rebase 'web{1..3}' --onto dev --request-key k");
  EXPECT_EQ(result.exit_code, kExitDone) << result.output;
  EXPECT_TRUE(Has(result.output, "web2: 0 added")) << result.output;
  EXPECT_EQ(server.Json("show web2")["result"]["parent"], "dev");
  const std::string tree = server.Prism("list --tree").output;
  EXPECT_TRUE(Has(tree, "\n   └─ dev ")) << tree;
  EXPECT_TRUE(Has(tree, "\n      ├─ web1 ")) << tree;
  const nlohmann::json json = server.Json("rebase web1 --onto dev --dry-run");
  EXPECT_EQ(json["result"][0]["name"], "web1");
  EXPECT_EQ(json["result"][0]["conflict_count"], 0);
  EXPECT_EQ(server.Prism("merge web1 --into dev").exit_code, kExitDone);
  result = server.Prism("rollback base@1 --path /a");
  EXPECT_EQ(result.exit_code, kExitDone) << result.output;
  EXPECT_TRUE(Has(result.output, "`prism rollback base@before-rollback-")) << result.output;
}

TEST_F(CommandTest, EveryVerbSpeaksJson) {
  LiveServer server(directory_.path());
  MakeTree(3);
  const std::string copy = directory_ / "copy";
  for (const std::string& arguments : {"import dir:" + tree_ + " base",
                                       std::string("create x"),
                                       std::string("clone base y z"),
                                       std::string("list"),
                                       std::string("show y"),
                                       std::string("snapshot y@s"),
                                       std::string("hold y@s t"),
                                       std::string("release y@s t"),
                                       std::string("rollback y@s"),
                                       std::string("rollback y@s --path /1"),
                                       std::string("merge y --into base"),
                                       std::string("rebase z --onto y@s -n"),
                                       std::string("destroy -n y@s"),
                                       std::string("rename y w"),
                                       "export base dir:" + copy,
                                       "export base tar:" + directory_ / "base.tar",
                                       std::string("stat"),
                                       std::string("lanes"),
                                       std::string("ping"),
                                       std::string("destroy -r w z"),
                                       "import tar:" + directory_ / "base.tar" + " again"}) {
    const nlohmann::json result = server.Json(arguments);
    ASSERT_TRUE(result.is_object()) << arguments;
    EXPECT_EQ(result["ok"], true) << arguments;
  }
  EXPECT_EQ(server.Json("show absent")["ok"], false);
}

TEST_F(CommandTest, TarFromAndToPipes) {
  LiveServer server(directory_.path());
  MakeTree(50);
  const std::string copy = directory_ / "copy";
  ASSERT_EQ(
      Shell("tar -C " + tree_ + " -cJf - . | " + server.Command("import -q tar:- v")).exit_code,
      kExitDone);
  ASSERT_EQ(Shell("mkdir " + copy + " && " + server.Command("export -q v tar:-") + " | tar -C " +
                  copy + " -xpf -")
                .exit_code,
            0);
  EXPECT_EQ(Shell("diff -r " + tree_ + " " + copy).output, "");
}

TEST_F(CommandTest, AFailedImportLeavesNoVolume) {
  LiveServer server(directory_.path());
  MakeTree(50);
  ASSERT_EQ(Shell("tar -C " + tree_ + " -czf " + directory_ / "t.tgz" + " . && head -c 300 " +
                  directory_ / "t.tgz" + " > " + directory_ / "cut.tgz")
                .exit_code,
            0);
  const ShellResult result = server.Prism("import -q tar:" + directory_ / "cut.tgz" + " v");
  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_TRUE(Has(result.output, "cannot be read")) << result.output;
  EXPECT_EQ(server.Prism("create v").exit_code, kExitDone) << "the name is still taken";
}

TEST_F(CommandTest, AnImportThatIsKilledLeavesNoVolume) {
  LiveServer server(directory_.path());
  // A pipe that never ends, and no end of the archive in it: under way until it is killed.
  MakeTree(50);
  ShellResult killed =
      Shell("(tar -C " + tree_ + " -cf - . | head -c 4096; sleep 3) | timeout -s KILL 2 " +
            server.Command("import -q tar:- v") + " & sleep 1; " + server.Command("list"));
  EXPECT_TRUE(Has(killed.output, "v (importing)")) << killed.output;
  for (int i = 0; i < 500 && !server.Names().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(server.Names(), "");
}

TEST_F(CommandTest, AnImportCannotBeClonedOrExported) {
  LiveServer server(directory_.path());
  ShellResult result =
      Shell("(sleep 3) | timeout -s KILL 2 " + server.Command("import -q tar:- v") +
            " & sleep 1; " + server.Command("clone v w") + "; echo clone $?; " +
            server.Command("export -q v tar:/dev/null") + "; echo export $?");
  EXPECT_FALSE(Has(result.output, "clone 0")) << result.output;
  EXPECT_FALSE(Has(result.output, "export 0")) << result.output;
}

TEST_F(CommandTest, WarningsHaveAnExitCodeOfTheirOwn) {
  LiveServer server(directory_.path());
  MakeTree(1);
  Shell("python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('" + tree_ + "/s')\"");
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " v").exit_code, kExitDone);
  const ShellResult result = server.Prism("export v tar:" + directory_ / "v.tar");
  EXPECT_EQ(result.exit_code, kExitWarnings);
  EXPECT_TRUE(Has(result.output, "sockets")) << result.output;
}

TEST_F(CommandTest, EverythingIsThereAfterARestartAndAfterAKill) {
  MakeTree(300);
  {
    LiveServer server(directory_.path());
    ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
    ASSERT_EQ(server.Prism("clone base a").exit_code, kExitDone);
  }
  {
    LiveServer server(directory_.path());
    EXPECT_EQ(server.Names(), "a base");
    ASSERT_EQ(server.Prism("clone a b").exit_code, kExitDone);
    EXPECT_EQ(server.Stop(SIGKILL), 128 + SIGKILL);
  }
  LiveServer server(directory_.path());
  EXPECT_EQ(server.Names(), "a b base");
  ASSERT_EQ(server.Prism("export -q b dir:" + directory_ / "copy").exit_code, kExitDone);
  EXPECT_EQ(Shell("diff -r " + tree_ + " " + directory_ / "copy").output, "");
}

TEST_F(CommandTest, AServerThatDiesIsAClearError) {
  LiveServer server(directory_.path());
  const std::string kill_it = "kill -KILL " + std::to_string(server.pid());
  ShellResult result = Shell("(sleep 1; " + kill_it +
                             ") & (tar -cf - /usr/bin 2>/dev/null; sleep "
                             "3) | timeout 30 " +
                             server.Command("import -q tar:- v"));
  EXPECT_EQ(result.exit_code, kExitNoServer) << result.output;
  EXPECT_EQ(server.Stop(SIGKILL), 128 + SIGKILL);
  LiveServer again(directory_.path());
  EXPECT_EQ(again.Names(), "") << "half an import survived";
}

TEST_F(CommandTest, ASecondServerOnOneStoreIsRefused) {
  LiveServer server(directory_.path());
  const std::string prismd = PRISMD_PATH;
  ShellResult second = Shell("timeout 20 " + prismd + " --store " + directory_ / "store" +
                             " --control " + directory_ / "second.sock");
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_TRUE(Has(second.output, directory_ / "store")) << second.output;
  second = Shell("timeout 20 " + prismd + " --store " + directory_ / "other" + " --control " +
                 directory_ / "control.sock");
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_TRUE(Has(second.output, "another server answers")) << second.output;
  EXPECT_EQ(server.Prism("ping").exit_code, kExitDone);
}

TEST_F(CommandTest, ServerUsage) {
  const std::string prismd = PRISMD_PATH;
  EXPECT_EQ(Shell(prismd).exit_code, 2);
  EXPECT_EQ(Shell(prismd + " --help").exit_code, 0);
  EXPECT_EQ(Shell(prismd + " --store x --compression rar").exit_code, 2);
  EXPECT_EQ(Shell(prismd + " --store x --node-cache many").exit_code, 2);
  EXPECT_EQ(Shell(prismd + " --store x --portmap").exit_code, 2) << "without --nfs";
  for (const char* address : {"127.0.0.1", "127.0.0.1:70000", "no.such.host:2049", "192.0.2.1:1"}) {
    const ShellResult nfs = Shell("timeout 20 " + prismd + " --store " + directory_ / "s" +
                                  " --control " + directory_ / "c.sock" + " --nfs " + address);
    EXPECT_EQ(nfs.exit_code, 1) << address;
    EXPECT_TRUE(Has(nfs.output, address)) << nfs.output;
  }
  EXPECT_EQ(Shell("echo x > " + directory_ / "file" + "; " + prismd + " --store " +
                  directory_ / "file" + " --control " + directory_ / "c.sock")
                .exit_code,
            1);
}

TEST_F(CommandTest, NfsIsShownAndAccessIsGiven) {
  LiveServer server(directory_.path(), "--nfs 127.0.0.1:0");
  ASSERT_EQ(server.Prism("create v").exit_code, kExitDone);
  const std::string shown = server.Prism("show v").output;
  EXPECT_TRUE(Has(shown, "mount -t nfs -o vers=3,proto=tcp,port=")) << shown;
  EXPECT_TRUE(Has(shown, "nfsroot=10.0.2.2:/v,")) << shown;
  EXPECT_TRUE(Has(shown, "127.0.0.0/8(rw,no_root_squash,secure)")) << shown;
  EXPECT_EQ(server.Prism("access v '10.0.0.0/8(ro)' '*(insecure)'").output,
            "10.0.0.0/8(ro,no_root_squash,secure)\n*(rw,no_root_squash,insecure)\n");
  EXPECT_EQ(server.Prism("access v 'nobody(ro)'").exit_code, kExitFailed);
  EXPECT_EQ(server.Prism("access absent '*'").exit_code, kExitNotFound);
  EXPECT_TRUE(Has(server.Prism("access v").output, "*(rw")) << "a refused rule changes nothing";
  EXPECT_TRUE(Has(server.Prism("access v --default").output, "::1(rw"));
  EXPECT_EQ(server.Prism("access v --default '*'").exit_code, kExitUsage);
}

TEST_F(CommandTest, ServerOptionsAreTaken) {
  LiveServer server(directory_.path(),
                    "--compression zstd --node-cache 64M --chunk-cache 64M --dirty-max 16M "
                    "--workers 2 --log-level debug --flush-interval-ms 100");
  MakeTree(10);
  EXPECT_EQ(server.Prism("import -q dir:" + tree_ + " v").exit_code, kExitDone);
}

TEST_F(CommandTest, SystemdIsTold) {
  // What Type=notify means: a datagram socket that hears READY=1 and STOPPING=1.
  const std::string script =
      "import os,signal,socket,subprocess,sys\n"
      "s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1]+'/notify')\n"
      "s.settimeout(30)\n"
      "p=subprocess.Popen([sys.argv[2],'--store',sys.argv[1]+'/store','--control',\n"
      "  sys.argv[1]+'/c.sock'],env={**os.environ,'NOTIFY_SOCKET':sys.argv[1]+'/notify'})\n"
      "print(s.recv(4096).decode().split()[0])\n"
      "p.send_signal(signal.SIGINT)\n"
      "print(s.recv(4096).decode().split()[0])\n"
      "print(p.wait(30))\n";
  std::ofstream(directory_ / "notify.py") << script;
  const ShellResult result = Shell("python3 " + directory_ / "notify.py" + " " + directory_.path() +
                                   " " + PRISMD_PATH + " 2>/dev/null");
  EXPECT_EQ(result.output, "READY=1\nSTOPPING=1\n0\n");
}

}  // namespace
}  // namespace prism::tool
