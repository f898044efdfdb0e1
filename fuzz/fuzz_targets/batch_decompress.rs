//! libFuzzer's way into `batch::decompressed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::batch::decompressed(data));
