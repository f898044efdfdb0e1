//! libFuzzer's way into `engine::verified`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::engine::verified(data));
