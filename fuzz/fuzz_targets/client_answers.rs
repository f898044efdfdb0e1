//! libFuzzer's way into `client::answers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::client::answers(data));
