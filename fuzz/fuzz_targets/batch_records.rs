//! libFuzzer's way into `batch::records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::batch::records(data));
