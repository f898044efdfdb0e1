"""The few Kafka requests that look at a group from outside, in plain sockets: no client library under trial has a part in it.

Every request here is in its flexible form but ApiVersions. Knows nothing of trials; used by `watch` and `steps`. Formats: Kafka's
protocol guide.
"""

import socket
import struct

OFFSET_COMMIT, OFFSET_FETCH, DESCRIBE_GROUPS, API_VERSIONS, CONSUMER_GROUP_DESCRIBE = 8, 9, 15, 18, 69
JOIN_GROUP, CREATE_TOPICS, CONSUMER_GROUP_HEARTBEAT = 11, 19, 68
TIMEOUT_S = 5
ANSWER_BYTES_MAX = 16 << 20
GROUP_ID_NOT_FOUND = 69


class Refused(Exception):
    """An error code of the broker."""

    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code


class Reader:
    """Takes an answer apart."""

    def __init__(self, data):
        self._data = data
        self._at = 0

    def take(self, count):
        if self._at + count > len(self._data):
            raise ValueError("the answer ends too early")
        self._at += count
        return self._data[self._at - count:self._at]

    def number(self, form):
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return value

    def i16(self):
        return self.number(">h")

    def i32(self):
        return self.number(">i")

    def i64(self):
        return self.number(">q")

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def blob(self):
        """Compact bytes; None for null."""
        length = self.varint()
        return None if length == 0 else self.take(length - 1)

    def text(self):
        data = self.blob()
        return None if data is None else data.decode()

    def array(self, read):
        """A compact array, each of whose elements `read` takes."""
        return [read() for _ in range(max(self.varint() - 1, 0))]

    def tags(self):
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())

    def end(self, value):
        """The same value, with the tagged fields behind it passed over."""
        self.tags()
        return value


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def text(value):
    """A compact string; None is null."""
    return b"\0" if value is None else varint(len(value.encode()) + 1) + value.encode()


def array(items):
    return varint(len(items) + 1) + b"".join(items)


class Connection:
    """One connection to the broker, for one request at a time."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._correlation = 0

    def close(self):
        self._socket.close()

    def ask(self, key, version, body, flexible=True):
        """Sends a request and gives a reader behind the answer's header."""
        self._correlation += 1
        header = struct.pack(">hhih", key, version, self._correlation, 7) + b"witness" + (b"\0" if flexible else b"")
        self._socket.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        (length,) = struct.unpack(">i", self._receive(4))
        if not 4 <= length <= ANSWER_BYTES_MAX:
            raise ValueError(f"an answer of {length} bytes")
        answer = Reader(self._receive(length))
        if (got := answer.i32()) != self._correlation:
            raise ValueError(f"answer to request {got}, not {self._correlation}")
        if flexible:
            answer.tags()
        return answer

    def _receive(self, count):
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the broker closed the connection")
            data += part
        return data

    def apis(self):
        """The keys of the requests that the broker serves."""
        answer = self.ask(API_VERSIONS, 0, b"", flexible=False)
        if code := answer.i16():
            raise Refused(code)
        return {(answer.i16(), answer.i16(), answer.i16())[0] for _ in range(answer.i32())}

    def create_topic(self, topic, partitions):
        """Creates a topic that nobody knows yet."""
        body = array([text(topic) + struct.pack(">ih", partitions, -1) + array([]) + array([]) + b"\0"]) + struct.pack(">i", TIMEOUT_S * 1000) + b"\0\0"
        answer = self.ask(CREATE_TOPICS, 5, body)
        answer.i32()
        answer.varint()
        answer.text()
        if code := answer.i16():
            raise Refused(code)

    def committed(self, group, topic):
        """The group's offsets in a topic, by partition; those without one are absent."""
        answer = self.ask(OFFSET_FETCH, 8, array([text(group) + b"\0\0"]) + b"\0\0")
        answer.i32()
        found = {}

        def partition():
            index, offset, _, _, code = answer.i32(), answer.i64(), answer.i32(), answer.text(), answer.i16()
            if code:
                raise Refused(code)
            return answer.end((index, offset))

        def one_topic():
            name = answer.text()
            found[name] = dict(answer.array(partition))
            return answer.end(name)

        def one_group():
            answer.text()
            answer.array(one_topic)
            return answer.end(answer.i16())

        for code in answer.array(one_group):
            if code:
                raise Refused(code)
        return {index: offset for index, offset in found.get(topic, {}).items() if offset >= 0}

    def commit(self, group, epoch, member_id, topic, partition, offset):
        """Tries a commit in somebody's name; the error code, 0 for none."""
        one = struct.pack(">iqi", partition, offset, -1) + text("") + b"\0"
        topics = array([text(topic) + array([one]) + b"\0"])
        answer = self.ask(OFFSET_COMMIT, 9, text(group) + struct.pack(">i", epoch) + text(member_id) + text(None) + topics + b"\0")
        answer.i32()

        def partition_code():
            answer.i32()
            return answer.end(answer.i16())

        def one_topic():
            answer.text()
            return answer.end(answer.array(partition_code))

        ((code,),) = answer.array(one_topic)
        return code

    def describe(self, group):
        """The group as `Description`, whichever protocol it uses."""
        try:
            return self._describe_consumer(group)
        except Refused as refused:
            if refused.code != GROUP_ID_NOT_FOUND:
                raise
        return self._describe_classic(group)

    def _describe_classic(self, group):
        answer = self.ask(DESCRIBE_GROUPS, 5, array([text(group)]) + b"\0\0")
        answer.i32()

        def member():
            member_id, instance, client, _ = (answer.text() for _ in range(4))
            answer.blob()
            return answer.end(Member(member_id, instance, client, None, assigned(answer.blob())))

        def one():
            code = answer.i16()
            _, state, _, protocol = (answer.text() for _ in range(4))
            members = answer.array(member)
            answer.i32()
            return answer.end((code, Description("classic", state, protocol, members)))

        ((code, description),) = answer.array(one)
        if code:
            raise Refused(code)
        return description

    def _describe_consumer(self, group):
        answer = self.ask(CONSUMER_GROUP_DESCRIBE, 0, array([text(group)]) + b"\0\0")
        answer.i32()

        def topic_partitions():
            answer.take(16)
            answer.text()
            return answer.end(answer.array(answer.i32))

        def assignment():
            return answer.end({partition for topic in answer.array(topic_partitions) for partition in topic})

        def member():
            member_id, instance, _ = (answer.text() for _ in range(3))
            epoch, client = answer.i32(), answer.text()
            answer.text()
            answer.array(answer.text)
            answer.text()
            has = assignment()
            assignment()
            return answer.end(Member(member_id, instance, client, epoch, has))

        def one():
            code = answer.i16()
            answer.text()
            answer.text()
            state = answer.text()
            answer.i32()
            answer.i32()
            assignor = answer.text()
            members = answer.array(member)
            answer.i32()
            return answer.end((code, Description("consumer", state, assignor, members)))

        ((code, description),) = answer.array(one)
        if code:
            raise Refused(code)
        return description


class Description:
    """A group by the broker's word: `group_type` is classic or consumer."""

    def __init__(self, group_type, state, assignor, members):
        self.group_type, self.state, self.assignor, self.members = group_type, state, assignor, members

    def __str__(self):
        members = "; ".join(f"{member.client} has {sorted(member.partitions)}" for member in self.members)
        return f"{self.group_type} {self.state} {self.assignor}: {members or 'no members'}"


class Member:
    """One of its members; `epoch` only where the group is of the consumer protocol."""

    def __init__(self, member_id, instance, client, epoch, partitions):
        self.id, self.instance, self.client, self.epoch, self.partitions = member_id, instance, client, epoch, partitions


def assigned(blob):
    """The partitions in a classic member's assignment: a version, topics with partitions, and what is the assignor's own."""
    if not blob:
        return set()
    data = Reader(blob)
    data.i16()
    partitions = set()
    for _ in range(data.i32()):
        data.take(data.i16())
        partitions |= {data.i32() for _ in range(data.i32())}
    return partitions
