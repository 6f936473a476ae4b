"""A client of VRPC written from vrpc/PROTOCOL.md alone, with nothing but Python's library.

It shares no line with the C++ one: what it needs to know and the page does not say is a fault of the
page. One thread, no resuming; simple where the page leaves a choice.
"""

import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time

F_GET_SEALS = 1034
SEALS = 0x1 | 0x2 | 0x4  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW
PAGE = 4096
LIMIT_S = 60  # nothing that the server answers takes as long

BYE = 4  # a flag of Hello
TYPE_FILE, TYPE_DIRECTORY = 1, 2
NO_ENTRY, INVALID, NOT_SUPPORTED, EPROTO = 2, 9, 20, 28


class VrpcError(Exception):
    """An error of a call, with its number as the server said it."""

    def __init__(self, number, text=""):
        super().__init__(f"error {number} {text}".strip())
        self.number = number


class Broken(Exception):
    """The other side did what the page does not allow, or has gone."""


class SessionOver(Exception):
    """The server has ended it: the lane has another epoch."""


def require(condition, what):
    if not condition:
        raise Broken(what)


def fence():
    """A full fence: Python has none by name, but taking a lock is a locked instruction."""
    lock = threading.Lock()
    lock.acquire()
    lock.release()


class Fields:
    """Takes fields from a reply, in order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, fmt):
        values = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values[0] if len(values) == 1 else values

    def flag(self):
        value = self.take("B")
        require(value in (0, 1), f"a bool of {value}")
        return value == 1

    def str(self):
        size = self.take("I")
        require(self.at + size <= len(self.data), "a string that is longer than its message")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def attr(self):
        values = self.take("4Q4q12I")
        names = ("ino size used_bytes change atime mtime ctime btime atime_ns mtime_ns ctime_ns"
                 " btime_ns mode nlink uid gid rdev_major rdev_minor type reserved").split()
        require(values[-1] == 0, "the reserved word of an attr")
        return dict(zip(names, values))

    def end(self):
        require(self.at == len(self.data), f"{len(self.data) - self.at} bytes after the last field")


class Geometry:
    """The segment's header, checked."""

    def __init__(self, header, segment_bytes):
        magic, self.version, header_bytes, size = struct.unpack_from("<8sIIQ", header)
        require(magic == b"PVSEGMT2" and self.version == 2, f"magic {magic}, {self.version}")
        require(header_bytes == 104 and size == segment_bytes, "sizes of header and segment")
        (self.lanes, self.queues, self.ring_entries, self.slots, self.message_bytes,
         self.payload_bytes, self.events, reserved) = struct.unpack_from("<8I", header, 24)
        (self.lanes_offset, self.lane_bytes, self.queues_offset, self.events_offset,
         self.messages_offset, self.payloads_offset) = struct.unpack_from("<6Q", header, 56)
        self.vectors = self.lanes * (1 + self.queues)
        require(1 <= self.lanes <= 64 and 1 <= self.queues <= 64 and self.vectors <= 256, "lanes")
        require(self.ring_entries in (1, 2, 4, 8, 16, 32, 64) and 1 <= self.slots <= 64, "rings")
        require(reserved == 0, "the header's reserved word")
        messages = self.queues * self.slots * self.message_bytes
        payloads = self.queues * self.slots * self.payload_bytes
        events_end = self.events_offset + 512 + 272 * self.events
        require(self.lanes_offset == PAGE and self.queues_offset == PAGE, "offsets")
        require(self.events_offset == PAGE + PAGE * self.queues, "events_offset")
        require(self.messages_offset == -(-events_end // PAGE) * PAGE, "messages_offset")
        require(self.payloads_offset == self.messages_offset + messages, "payloads_offset")
        require(self.lane_bytes == self.payloads_offset + payloads, "lane_bytes")
        require(self.lanes_offset + self.lanes * self.lane_bytes <= size, "the segment's end")


class Channel:
    """A connection to a port: the segment and the eventfds of both directions."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(path)
        version, _ = self._message()
        if version != 0:
            raise VrpcError(version, "the port refuses")
        self.id, _ = self._message()
        require(1 <= self.id <= 65535, f"id {self.id}")
        number, segment = self._message()
        require(number == -1 and segment is not None, "no segment")
        require(fcntl.fcntl(segment, F_GET_SEALS) & SEALS == SEALS, "the segment's seals")
        size = os.fstat(segment).st_size
        require(size & (size - 1) == 0, f"a segment of {size} bytes")
        self.map = mmap.mmap(segment, size)
        os.close(segment)
        self.words = memoryview(self.map).cast("I")  # each access is one of 32 bits
        self.geometry = Geometry(self.map[:PAGE], size)
        self.to_server = [self._doorbell(0) for _ in range(self.geometry.vectors)]
        self.to_client = [self._doorbell(self.id) for _ in range(self.geometry.vectors)]

    def _message(self):
        data, fds = b"", []
        while len(data) < 8:
            part, new, _, _ = socket.recv_fds(self.socket, 8 - len(data), 1)
            require(part, "the server ended the channel")
            data, fds = data + part, fds + new
        require(len(fds) <= 1, "more than one descriptor")
        return struct.unpack("<q", data)[0], (fds[0] if fds else None)

    def _doorbell(self, peer):
        number, fd = self._message()
        require(number == peer and fd is not None, f"no eventfd of {peer}, but {number}")
        return fd

    def ring(self, vector):
        os.eventfd_write(self.to_server[vector], 1)

    def wait(self, vector, deadline):
        """Until the vector rings, the socket ends, or 100 ms: whoever waits looks again."""
        poll = select.poll()
        poll.register(self.to_client[vector], select.POLLIN)
        poll.register(self.socket, select.POLLIN | select.POLLHUP)
        ready = [fd for fd, _ in poll.poll(100)]
        if self.to_client[vector] in ready:
            os.eventfd_read(self.to_client[vector])
        require(self.socket.fileno() not in ready, "the server ended the channel")
        require(time.monotonic() < deadline, "the server does not answer")

    def close(self):
        self.words.release()
        self.map.close()
        self.socket.close()
        for fd in self.to_server + self.to_client:
            os.close(fd)


class Ring:
    """Its three words, by their index among the segment's 32-bit words."""

    def __init__(self, channel, start):
        self.words = channel.words
        self.tail, self.head, self.sleeps = ((start + at) // 4 for at in (0, 128, 256))


class Session:
    """A lane with an accepted Hello; calls by number of operation."""

    def __init__(self, channel, volume, lane=0, flags=0, client=0):
        self.channel, self.geometry = channel, channel.geometry
        self.lane_at = self.geometry.lanes_offset + lane * self.geometry.lane_bytes
        self.vector = lane * (1 + self.geometry.queues)
        self.client = client or struct.unpack("<Q", os.urandom(8))[0] | 1
        self.next_id = 1
        answer = self._hello(volume, flags)
        if answer["error"]:
            raise VrpcError(answer["error"], answer["message"])
        self.epoch, self.id = answer["epoch"], answer["session"]
        self.queues = answer["queues"]
        require(1 <= self.queues <= self.geometry.queues, f"{self.queues} queues")
        self.tails = [0] * self.queues  # of the submission rings, which only we write
        self.heads = [0] * self.queues  # of the completion rings
        self.events_head = 0
        self.events_lost = 0

    # The handshake.

    def _load_epoch(self):
        return struct.unpack_from("=Q", self.channel.map, self.lane_at + 256)[0]

    def _hello(self, volume, flags):
        words, deadline = self.channel.words, time.monotonic() + LIMIT_S
        sequence_at, answer_at = self.lane_at // 4, (self.lane_at + 128) // 4
        while True:
            epoch = self._load_epoch()
            struct.pack_into("<8s4IQQII128s", self.channel.map, self.lane_at + 512, b"PVHELLO2",
                             2, 2, flags, 0, self.client, epoch, len(volume), 0, volume)
            sequence = (words[sequence_at] + 1) & 0xFFFFFFFF
            fence()
            words[sequence_at] = sequence
            self.channel.ring(self.vector)
            while words[answer_at] != sequence and self._load_epoch() == epoch:
                self.channel.wait(self.vector, deadline)
            if words[answer_at] == sequence:
                answer = self._answer()
                if answer["epoch"] == epoch:
                    return answer

    def _answer(self):
        raw = self.channel.map[self.lane_at + 1024 : self.lane_at + 1024 + 496]
        magic, version, error, epoch, session, durability, queues, size = struct.unpack_from(
            "<8sIIQQQII", raw)
        require(magic == b"PVNASWR2" and version == 2 and size <= 448, f"an answer of {magic}")
        return {"error": error, "epoch": epoch, "session": session, "durability": durability,
                "queues": queues, "message": raw[48 : 48 + size].decode()}

    def bye(self):
        """Ends the session; the lane may be used again."""
        answer = self._hello(b"", BYE)
        require(answer["error"] == 0 and answer["session"] == 0, f"the answer to a bye: {answer}")

    # Calls.

    def _ring_words(self, queue, completion):
        return Ring(self.channel, self.lane_at + self.geometry.queues_offset + PAGE * queue
                    + (384 if completion else 0))

    def _slot(self, queue, slot, payload):
        offset = self.geometry.payloads_offset if payload else self.geometry.messages_offset
        size = self.geometry.payload_bytes if payload else self.geometry.message_bytes
        return self.lane_at + offset + (queue * self.geometry.slots + slot) * size

    def _entry(self, queue, completion, index):
        place = index % self.geometry.ring_entries
        return (self.lane_at + self.geometry.queues_offset + PAGE * queue
                + (1792 if completion else 768) + 16 * place)

    def submit(self, op, fields=b"", payload=b"", queue=0, slot=0, number=0, uid=0, gid=0,
               groups=(), check=False, raw=None):
        """Puts a request into a slot and rings. Returns its id."""
        ident, self.next_id = self.next_id, self.next_id + 1
        message = raw if raw is not None else struct.pack(
            "<QHHB3xIIII", ident, op, len(groups), check, uid, gid, number, 0) + struct.pack(
            f"<{len(groups)}I", *groups) + fields
        memory = self.channel.map
        at = self._slot(queue, slot, payload=False)
        memory[at : at + len(message)] = message
        at = self._slot(queue, slot, payload=True)
        memory[at : at + len(payload)] = payload
        ring, tail = self._ring_words(queue, completion=False), self.tails[queue]
        require((tail - ring.words[ring.head]) & 0xFFFFFFFF < self.geometry.ring_entries,
                "no room in the ring")
        struct.pack_into("<4I", memory, self._entry(queue, False, tail), slot, len(message),
                         len(payload), 0)
        self.tails[queue] = (tail + 1) & 0xFFFFFFFF
        fence()
        ring.words[ring.tail] = self.tails[queue]
        fence()
        if ring.words[ring.sleeps] == 1:
            self.channel.ring(self.vector + 1 + queue)
        return ident

    def complete(self, queue=0):
        """Waits for the queue's next reply. Returns its slot, id, error, fields, payload."""
        ring, head = self._ring_words(queue, completion=True), self.heads[queue]
        deadline = time.monotonic() + LIMIT_S
        while ring.words[ring.tail] == head:
            ring.words[ring.sleeps] = 1
            fence()
            if self._load_epoch() != self.epoch:
                raise SessionOver
            if ring.words[ring.tail] == head:
                self.channel.wait(self.vector + 1 + queue, deadline)
        ring.words[ring.sleeps] = 0
        count = (ring.words[ring.tail] - head) & 0xFFFFFFFF
        require(count <= self.geometry.ring_entries, f"{count} completions at once")
        slot, message_bytes, payload_bytes, _ = struct.unpack_from(
            "<4I", self.channel.map, self._entry(queue, True, head))
        require(slot < self.geometry.slots and 16 <= message_bytes <= self.geometry.message_bytes
                and payload_bytes <= self.geometry.payload_bytes, "a completion's bounds")
        at = self._slot(queue, slot, payload=False)
        message = self.channel.map[at : at + message_bytes]
        at = self._slot(queue, slot, payload=True)
        payload = self.channel.map[at : at + payload_bytes]
        self.heads[queue] = (head + 1) & 0xFFFFFFFF
        ring.words[ring.head] = self.heads[queue]
        ident, error = struct.unpack_from("<QB", message)
        return slot, ident, error, Fields(message[16:]), payload

    def call(self, op, fields=b"", payload=b"", queue=0, **header):
        """One call and its reply: the fields and the payload. Raises VrpcError."""
        ident = self.submit(op, fields, payload, queue, **header)
        _, answered, error, reply, data = self.complete(queue)
        require(answered == ident, f"the reply of {answered} instead of {ident}")
        if error:
            raise VrpcError(error, f"of operation {op}")
        return reply, data

    # Events.

    def events(self):
        """What has come since: (ino, kind, name or cookie) each; "lost" last if some were."""
        ring = Ring(self.channel, self.lane_at + self.geometry.events_offset)
        lost_at = (self.lane_at + self.geometry.events_offset + 384) // 4
        taken, tail = [], ring.words[ring.tail]
        require((tail - self.events_head) & 0xFFFFFFFF <= self.geometry.events, "event indices")
        while self.events_head != tail:
            place = self.events_head % self.geometry.events
            at = self.lane_at + self.geometry.events_offset + 512 + 272 * place
            ino, kind, _, name_bytes, _, name = struct.unpack_from(
                "<QBBHI256s", self.channel.map, at)
            require(name_bytes <= 255, "an event's name")
            cookie = struct.unpack_from("<Q", name)[0]
            taken.append((ino, kind, cookie if kind in (4, 5) else name[:name_bytes]))
            self.events_head = (self.events_head + 1) & 0xFFFFFFFF
        ring.words[ring.head] = self.events_head
        if ring.words[lost_at] != self.events_lost:
            self.events_lost = ring.words[lost_at]
            taken.append((0, "lost", b""))
        return taken

    def wait_events(self):
        """The next events; waits for them as the page says."""
        ring = Ring(self.channel, self.lane_at + self.geometry.events_offset)
        deadline = time.monotonic() + LIMIT_S
        while not (taken := self.events()):
            ring.words[ring.sleeps] = 1
            fence()
            if ring.words[ring.tail] == self.events_head:
                self.channel.wait(self.vector, deadline)
            ring.words[ring.sleeps] = 0
        return taken
