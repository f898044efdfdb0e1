"""Prints lines `key<tab>value` of 1 KB, as many as make up BYTES, each with one of KEYS keys at random; the same each time.

Usage: keyed_lines.py BYTES KEYS
"""

import random
import sys

LINE_BYTES = 1000


def main():
    count, keys = int(sys.argv[1]) // LINE_BYTES, int(sys.argv[2])
    chance = random.Random(1)
    words = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz     ") for _ in range(1 << 20))
    for _ in range(count):
        key = f"{chance.randrange(keys):012}\t"
        start = chance.randrange(len(words) - LINE_BYTES)
        print(key, words[start : start + LINE_BYTES - len(key) - 1], sep="")


if __name__ == "__main__":
    main()
