//! libFuzzer's way into `config::file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::config::file(data));
