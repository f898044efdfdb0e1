//! libFuzzer's way into `sessions::sessions`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::sessions::sessions(data));
