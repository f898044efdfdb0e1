//! libFuzzer's way into `wire::responses`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::wire::responses(data));
