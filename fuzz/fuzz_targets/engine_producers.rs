//! libFuzzer's way into `engine::producers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::engine::producers(data));
