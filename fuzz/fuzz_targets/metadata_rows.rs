//! libFuzzer's way into `metadata::rows`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::metadata::rows(data));
