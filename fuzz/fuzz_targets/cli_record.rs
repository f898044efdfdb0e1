//! libFuzzer's way into `command_line::record`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::command_line::record(data));
