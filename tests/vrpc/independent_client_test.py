"""PROTOCOL.md is enough: a client written from it alone works with the real server."""
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

from independent_client import (EPROTO, INVALID, NO_ENTRY, NOT_SUPPORTED, TYPE_DIRECTORY, TYPE_FILE,
                                Channel, Session, SessionOver, VrpcError)
from independent_calls import ROOT, Files

PRISMD, PRISM = os.environ["PRISMD"], os.environ["PRISM"]
START_LIMIT_S = 60
MIB = 1 << 20


class IndependentClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory(prefix="prism-independent-")
        cls.addClassCleanup(temporary.cleanup)
        cls.directory = pathlib.Path(temporary.name)
        cls.control = str(cls.directory / "control.sock")
        cls.log = cls.directory / "log"
        with open(cls.log, "wb") as log:
            cls.server = subprocess.Popen(
                [PRISMD, "--store", str(cls.directory / "store"), "--control", cls.control],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        cls.addClassCleanup(cls.stop_server)
        end_s = time.monotonic() + START_LIMIT_S
        while not os.path.exists(cls.control + ".lane"):
            if cls.server.poll() is not None or time.monotonic() > end_s:
                raise AssertionError(f"the server did not start:\n{cls.log.read_text()}")
            time.sleep(0.02)

    @classmethod
    def stop_server(cls):
        cls.server.send_signal(signal.SIGTERM)
        code = cls.server.wait(timeout=60)
        if code != 0:
            raise AssertionError(f"the server ended with {code}:\n{cls.log.read_text()}")

    def prism(self, *arguments):
        done = subprocess.run([PRISM, "--control", self.control, *arguments], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def setUp(self):
        self.volume = self._testMethodName.replace("_", "-")
        self.prism("create", self.volume)

    def session(self, **options):
        channel = Channel(self.control + ".lane")
        self.addCleanup(channel.close)
        return Session(channel, self.volume.encode(), **options)

    def assert_error(self, number, call, *arguments, **options):
        with self.assertRaises(VrpcError) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.number, number)

    def wait_for(self, session, event):
        """Others may come first: wait_events has a limit of its own."""
        while event not in session.wait_events():
            pass

    def test_a_life(self):
        session = self.session()
        files = Files(session)
        directory, created = files.create(ROOT, b"directory", TYPE_DIRECTORY, 0o755)
        self.assertTrue(created)
        file, _ = files.create(directory["ino"], b"file", TYPE_FILE, 0o640)
        data = os.urandom(MIB)
        self.assertEqual(files.write(file["ino"], 0, data), MIB)
        files.fsync(file["ino"])
        self.assertEqual(files.read(file["ino"], 0, MIB), (data, True))
        self.assertEqual(files.read(file["ino"], 1000, 17), (data[1000:1017], False))

        for i in range(50):
            files.create(directory["ino"], b"n%d" % i, TYPE_FILE, 0o600, data=b"x" * i)
        listed = files.readdirplus(directory["ino"], entries_max=7)
        expected = {b"n%d" % i: i for i in range(50)} | {b"file": MIB}
        self.assertEqual({name: attr["size"] for name, attr in listed}, expected)
        self.assertEqual(len(listed), len(expected))

        self.assert_error(NO_ENTRY, files.lookup, directory["ino"], b"missing")
        found, created = files.lookup(directory["ino"], b"file")
        self.assertFalse(created)
        self.assertEqual((found["ino"], found["size"], found["mode"], found["nlink"]),
                         (file["ino"], MIB, 0o640, 1))
        session.bye()

        # Everybody else sees it.
        target = self.directory / "life.tar"
        self.prism("export", "-q", self.volume, f"tar:{target}")
        with tarfile.open(target) as archive:
            members = {member.name.removeprefix("./"): member for member in archive}
            self.assertEqual(archive.extractfile(members["directory/file"]).read(), data)
            self.assertIn("directory/n49", members)

    def test_all_queues_and_slots_at_once(self):
        session = self.session()
        files = Files(session)
        self.assertGreaterEqual(session.queues, 2)
        depth = min(session.geometry.ring_entries, session.geometry.slots)
        file, _ = files.create(ROOT, b"file", TYPE_FILE, 0o600)
        size = 64 * 1024
        for turn in range(20):
            ids = {}
            for place in range(session.queues * depth):
                queue, slot = divmod(place, depth)
                data = bytes([turn, place]) * (size // 2)
                ids[queue, slot] = session.submit(
                    8, files.write_fields(file["ino"], place * size), data, queue=queue, slot=slot)
            for queue in range(session.queues):
                for slot in range(depth):  # one after the other, as they were pushed
                    answered, ident, error, _, _ = session.complete(queue)
                    self.assertEqual((answered, ident, error), (slot, ids[queue, slot], 0))
            for place in range(session.queues * depth):
                self.assertEqual(files.read(file["ino"], place * size, size)[0],
                                 bytes([turn, place]) * (size // 2))

    def test_errors_and_what_ends_a_session(self):
        session = self.session()
        files = Files(session)
        self.assert_error(NOT_SUPPORTED, session.call, 999)
        self.assert_error(EPROTO, session.call, 3)  # getattr without an inode
        self.assert_error(EPROTO, session.call, 0, b"more than nothing")
        self.assert_error(INVALID, session.call, 21, bytes(8) + b"\7" + bytes(16))  # a mode 7
        self.assertEqual(files.getattr(ROOT)["type"], TYPE_DIRECTORY)
        # A user who may not, when the server is asked to look.
        closed, _ = files.create(ROOT, b"closed", TYPE_DIRECTORY, 0o700)
        who = {"uid": 1000, "gid": 1000, "groups": (2000, 3000)}
        self.assert_error(5, files.create, closed["ino"], b"x", TYPE_FILE, 0o600, check=True, **who)
        made, _ = files.create(closed["ino"], b"x", TYPE_FILE, 0o600, check=False, **who)
        self.assertEqual((made["uid"], made["gid"]), (1000, 1000))
        # A message that is too short to be one.
        with self.assertRaises(SessionOver):
            session.call(0, raw=b"short")
        again = Session(session.channel, self.volume.encode())
        self.assertNotEqual(again.epoch, session.epoch)
        self.assertEqual(Files(again).lookup(closed["ino"], b"x")[0]["ino"], made["ino"])
        again.bye()
        with self.assertRaises(VrpcError) as refused:
            Session(session.channel, b"no-such-volume")
        self.assertEqual(refused.exception.number, NO_ENTRY)

    def test_others_events_and_locks(self):
        one, other = self.session(), self.session()
        mine, theirs = Files(one), Files(other)
        file, _ = theirs.create(ROOT, b"file", TYPE_FILE, 0o600)
        self.wait_for(one, (ROOT, 1, b"file"))
        mine.lock(file["ino"], b"me", exclusive=True)
        self.assert_error(22, theirs.lock, file["ino"], b"they", exclusive=False)
        self.assert_error(22, theirs.lock, file["ino"], b"they", exclusive=False, cookie=77)
        mine.unlock(file["ino"], b"me")
        self.wait_for(other, (file["ino"], 4, 77))
        # The last link goes; who holds the file still reads it, until all have released it.
        theirs.write(file["ino"], 0, b"kept")
        theirs.unlink(ROOT, b"file")
        self.wait_for(one, (file["ino"], 2, b""))
        theirs.release(file["ino"])
        self.assertEqual(mine.read(file["ino"], 0, 10), (b"kept", True))
        mine.release(file["ino"])
        self.assert_error(17, mine.getattr, file["ino"])

    def test_what_was_done_is_known_after_a_new_channel(self):
        session = self.session()
        made, _ = Files(session).create(ROOT, b"once", TYPE_FILE, 0o600, number=41)
        session.channel.socket.shutdown(2)
        resumed = self.session(client=session.client, flags=2)
        files = Files(resumed)
        self.assertEqual(files.find_done(41), made["ino"])
        self.assert_error(NO_ENTRY, files.find_done, 42)


if __name__ == "__main__":
    program = unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]], exit=False)
    sys.exit(0 if program.result.wasSuccessful() else 1)
