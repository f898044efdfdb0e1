#!/usr/bin/env python3
"""Writes the golden batches beside it with kafka-python 3.0.12, an implementation that shares nothing with ours.

Needs: pip install kafka-python==3.0.12 lz4 python-snappy zstandard. The files are kept in the repository; run this only to
add one, and add its expectation to ../golden.rs.
"""
import pathlib
import struct

import snappy
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

HERE = pathlib.Path(__file__).parent
CODECS = {"none": 0, "gzip": 1, "snappy-xerial": 2, "lz4": 3, "zstd": 4}


def build(codec, producer=(-1, -1, -1)):
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=False, producer_id=producer[0],
        producer_epoch=producer[1], base_sequence=producer[2], batch_size=1 << 20)
    builder.append(0, 1700000000000, b"host-1", b"first line", [])
    builder.append(1, 1700000000007, None, b"", [("trace", b"\x00\xff"), ("trace", None), ("", b"")])
    builder.append(2, 1699999999000, b"", None, [])
    builder.append(3, 1700000000007, None, b"a line that repeats itself, " * 40, [])
    return bytes(builder.build())


def raw_snappy():
    plain, framed = build(0), bytearray(build(2))
    batch = framed[:61] + snappy.compress(plain[61:])
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    return bytes(batch)


for name, codec in CODECS.items():
    (HERE / f"{name}.batch").write_bytes(build(codec))
(HERE / "idempotent.batch").write_bytes(build(0, (4711, 3, 2147483645)))
(HERE / "snappy-raw.batch").write_bytes(raw_snappy())
