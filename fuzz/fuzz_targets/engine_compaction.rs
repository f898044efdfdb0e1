//! libFuzzer's way into `compaction::compaction`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::compaction::compaction(data));
