//! libFuzzer's way into `command_line::place`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringmill_fuzz::command_line::place(data));
