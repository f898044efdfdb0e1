//! libFuzzer's way into `batch::check`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::batch::check(data));
