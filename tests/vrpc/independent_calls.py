"""Some operations of PROTOCOL.md's table, for the client of independent_client.py."""

import struct

from independent_client import Fields, require

ROOT = 1


def put_str(value):
    return struct.pack("<I", len(value)) + value


def put_setattr(mode=None, uid=None, gid=None, size=None):
    numbers = (("I", mode), ("I", uid), ("I", gid), ("Q", size))
    fields = b"".join(b"\0" if v is None else b"\1" + struct.pack("<" + f, v) for f, v in numbers)
    # No atime, no mtime; neither of them now; privileges stay; no if_ctime.
    return fields + b"\0\0" + b"\0\0\0" + b"\0"


class Files:
    """Operations of one session. Headers (number, uid, check, ...) go through as they are."""

    def __init__(self, session):
        self.session = session

    def _entry(self, reply):
        attr, before, after, created = reply.attr(), reply.attr(), reply.attr(), reply.flag()
        reply.end()
        require((before["change"] < after["change"]) == created, "the directory's change")
        return attr, created

    def getattr(self, ino):
        reply, _ = self.session.call(3, struct.pack("<Q", ino))
        attr = reply.attr()
        reply.end()
        return attr

    def lookup(self, directory, name):
        reply, _ = self.session.call(2, struct.pack("<Q", directory) + put_str(name))
        return self._entry(reply)

    def create(self, parent, name, kind, mode, data=b"", **header):
        fields = (struct.pack("<Q", parent) + put_str(name)
                  + struct.pack("<BIIII", kind, mode, 0o22, 0, 0) + put_str(b"")
                  + struct.pack("<BQ", 0, 0) + put_setattr() + struct.pack("<II", len(data), 0))
        reply, _ = self.session.call(9, fields, data, **header)
        return self._entry(reply)

    def write_fields(self, ino, offset):
        return struct.pack("<QQBBBB", ino, offset, 0, 0, 0, 0)

    def write(self, ino, offset, data):
        reply, _ = self.session.call(8, self.write_fields(ino, offset), data)
        length, at, committed = reply.take("IQB")
        reply.attr(), reply.attr()
        reply.end()
        require(at == offset and committed <= 2, f"written at {at}, committed {committed}")
        return length

    def read(self, ino, offset, length):
        reply, data = self.session.call(7, struct.pack("<QQI", ino, offset, length))
        size, eof = reply.take("I"), reply.flag()
        reply.attr()
        reply.end()
        require(size == len(data) <= length, f"{size} bytes read, {len(data)} there")
        return data, eof

    def fsync(self, ino):
        reply, _ = self.session.call(15, struct.pack("<QB", ino, 0))
        reply.end()

    def readdirplus(self, directory, entries_max):
        """All of it, in as many calls as that takes: (name, attr) each."""
        listed, cookie, eof = [], 0, False
        while not eof:
            reply, payload = self.session.call(
                14, struct.pack("<QQBII", directory, cookie, 1, entries_max, 65536))
            eof, own, count = reply.flag(), reply.attr(), reply.take("I")
            reply.end()
            require(own["ino"] == directory and count <= entries_max, "the listing's head")
            require(count > 0 or eof, "a listing that does not go on")
            entries = Fields(payload)
            for _ in range(count):
                cookie, ino, kind = entries.take("QQB")
                name = entries.str()
                require(entries.flag(), "an entry without its attributes")
                attr = entries.attr()
                require((attr["ino"], attr["type"]) == (ino, kind), "an entry's attributes")
                listed.append((name, attr))
            entries.end()
        return listed

    def unlink(self, directory, name):
        reply, _ = self.session.call(11, struct.pack("<Q", directory) + put_str(name))
        removed = reply.attr()
        require(removed["nlink"] == 0, "the last link")

    def release(self, ino):
        self.session.call(24, struct.pack("<Q", ino))

    def _lock(self, ino, owner, kind, cookie):
        self.session.call(25, struct.pack("<QBBQQ", ino, 0, kind, 0, 0) + put_str(owner)
                          + struct.pack("<IBQB", 1, cookie is not None, cookie or 0, 0))

    def lock(self, ino, owner, exclusive, cookie=None):
        """Of the whole file; with a cookie it is waited for."""
        self._lock(ino, owner, 2 if exclusive else 1, cookie)

    def unlock(self, ino, owner):
        self._lock(ino, owner, 0, None)

    def find_done(self, number):
        reply, _ = self.session.call(29, struct.pack("<I", number))
        ino = reply.take("Q")
        reply.end()
        return ino
