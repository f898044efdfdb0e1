//! libFuzzer's way into `broker::requests`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::broker::requests(data));
