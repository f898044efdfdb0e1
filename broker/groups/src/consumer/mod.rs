//! A group of the new protocol (KIP-848): the coordinator makes the assignment, members follow it one heartbeat at a time.
