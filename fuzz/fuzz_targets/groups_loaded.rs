//! libFuzzer's way into `groups::loaded`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::groups::loaded(data));
