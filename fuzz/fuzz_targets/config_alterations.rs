//! libFuzzer's way into `config::alterations`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::config::alterations(data));
