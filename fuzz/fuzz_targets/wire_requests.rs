//! libFuzzer's way into `wire::requests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::wire::requests(data));
