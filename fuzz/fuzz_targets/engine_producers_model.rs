//! libFuzzer's way into `producers::producers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::producers::producers(data));
