//! libFuzzer's way into `disk::disk`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::disk::disk(data));
