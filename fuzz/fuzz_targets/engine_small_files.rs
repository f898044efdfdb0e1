//! libFuzzer's way into `engine::small_files`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::engine::small_files(data));
