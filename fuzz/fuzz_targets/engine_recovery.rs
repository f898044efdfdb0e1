//! libFuzzer's way into `recovery::recovery`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::recovery::recovery(data));
