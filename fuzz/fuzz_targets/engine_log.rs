//! libFuzzer's way into `log::log`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::log::log(data));
