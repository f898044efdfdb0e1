"""Consumer groups under trial: members in processes of their own are killed, stalled and added, and the broker is restarted.

`steps` are what a row does, `member` is one member's process, `flow` writes the records, `wire` and `watch` look at the group from
outside, `history` collects what all of them saw, and `judge` says what must not have happened; `selftest` proves that it can.
"""
