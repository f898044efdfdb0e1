//! libFuzzer's way into `wire::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::wire::frames(data));
