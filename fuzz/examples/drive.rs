//! Runs one driver as an ordinary program, without libFuzzer: over files, to see again what one of them does, or over mutations from a seed.
//!
//! `cargo run -p ringmill-fuzz --example drive -- TARGET FILE...`, or `-- TARGET --seed 7 --iterations 10000`.

use std::process::ExitCode;
use std::time::Instant;

use ringmill_fuzz::{TARGETS, seeded};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let target = arguments.next().and_then(|name| TARGETS.iter().find(|target| target.name == name));
    let Some(target) = target else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: drive TARGET [--seed N] [--iterations N] [FILE...]\ntargets: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let (mut seed, mut iterations, mut files) = (1, 1000, Vec::new());
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).expect("a number follows");
        match argument.as_str() {
            "--seed" => seed = number(),
            "--iterations" => iterations = number(),
            _ => files.push(argument),
        }
    }
    let began = Instant::now();
    if files.is_empty() {
        seeded::run(target, iterations, seed);
        println!("{}: seed {seed}, {iterations} mutations in {:.1?}", target.name, began.elapsed());
        return ExitCode::SUCCESS;
    }
    for file in files {
        (target.driver)(&std::fs::read(&file).expect("the file can be read"));
        println!("{}: {file} is fine", target.name);
    }
    ExitCode::SUCCESS
}
