//! Help, completions and manual pages: that they are there, and that every example of the help works as it stands.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::cargo::cargo_bin;

use super::harness::{Broker, run};

#[test]
fn help_teaches_by_example_and_lists_the_exit_codes() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Exit codes:"), "{out}");
    for command in ["serve", "topic", "produce", "consume", "group", "log", "config", "completions", "man"] {
        let (code, out, _) = run(&[command, "--help"]);
        assert_eq!(code, 0);
        assert!(out.contains("Examples:") && out.contains(&format!("ringmill {command}")), "{command}: {out}");
    }
}

/// All commands that have a help of their own, as words.
const COMMANDS: [&[&str]; 17] = [
    &["produce"],
    &["consume"],
    &["topic"],
    &["topic", "list"],
    &["topic", "create"],
    &["topic", "describe"],
    &["topic", "config"],
    &["topic", "trim"],
    &["topic", "delete"],
    &["group"],
    &["group", "list"],
    &["group", "describe"],
    &["group", "seek"],
    &["group", "delete"],
    &["completions"],
    &["man"],
    &["config"],
];

/// The lines of a help's examples.
fn examples(command: &[&str]) -> Vec<String> {
    let (code, help, _) = run(&[command, &["--help"]].concat());
    assert_eq!(code, 0);
    let (_, behind) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{command:?} has no examples"));
    behind.lines().take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

/// A program that the examples use and a test machine may lack.
fn stub(dir: &Path, name: &str, script: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_example_of_the_help_works() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    for made in ["bin", "log/nginx", ".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"] {
        fs::create_dir_all(dir.path().join(made)).unwrap();
    }
    for log in ["log/dpkg.log", "log/nginx/access.log", "log/nginx/error.log"] {
        fs::write(dir.path().join(log), "one line\nan error\n").unwrap();
    }
    std::os::unix::fs::symlink(cargo_bin!("ringmill"), bin.join("ringmill")).unwrap();
    fs::write(dir.path().join("ringmill.toml"), "[topic]\n\"retention.ms\" = 1000\n").unwrap();
    stub(&bin, "journalctl", "echo a line of the journal");
    stub(&bin, "man", "cat > /dev/null");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut count = 0;
    for command in COMMANDS {
        for example in examples(command) {
            // Each finds what it needs, whatever the ones before it did.
            broker.run(&["topic", "delete", "logs", "events", "--if-exists"]);
            broker.run(&["topic", "create", "events"]);
            if !example.contains("topic create logs") {
                let lines: String = (0..2500).map(|number| format!("line {number}\n")).collect();
                if command[0] == "group" {
                    broker.run(&["topic", "create", "logs", "-p", "3"]);
                }
                broker.pipe(&["produce", "logs", "--partition", "0"], lines.as_bytes());
                // Positions go with the topic, and most of the examples with groups need some.
                if command[0] == "group" {
                    broker.run(&["group", "seek", "readers", "logs", "--to", "latest"]);
                    broker.run(&["group", "seek", "others", "logs", "--to", "latest"]);
                }
            }
            let script = example.replace("/var/log", dir.path().join("log").to_str().unwrap());
            let script = script.replace("/etc/", &format!("{}/", dir.path().display()));
            let script = match script.contains("--follow") {
                // What follows ends by a signal, and with success.
                true => script.replacen("ringmill", "timeout --preserve-status -s INT 1 ringmill", 1),
                false => script,
            };
            let mut shell = Command::new("bash");
            shell.args(["-euo", "pipefail", "-c", &script]).current_dir(dir.path()).env("HOME", dir.path());
            shell.env("PATH", &path).env("RINGMILL_ADDRESS", &broker.address).stdin(Stdio::null());
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{example}: {} {output:?}", output.status);
            count += 1;
        }
    }
    assert!(count >= 30, "{count} examples were found");
}

#[test]
fn every_shell_has_its_completions_and_bash_takes_them() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, out, error) = run(&["completions", shell]);
        assert_eq!((code, error.as_str()), (0, ""), "{shell}");
        assert!(out.contains("key-separator") && out.contains("trim"), "{shell}: {out}");
    }
    let (code, _, error) = run(&["completions", "tcsh"]);
    assert!(code == 2 && error.contains("bash, elvish, fish, powershell, zsh"), "{error}");
    let complete = r#"
        source <("$0" completions bash)
        COMP_WORDS=(ringmill topic cr) COMP_CWORD=2
        _ringmill ringmill cr topic
        echo "${COMPREPLY[@]}""#;
    let output = Command::new("bash").args(["-c", complete]).arg(cargo_bin!("ringmill")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "create\n", "{output:?}");
}

#[test]
fn every_command_has_its_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert_eq!(run(&["man", "--dir", pages.to_str().unwrap()]), (0, String::new(), String::new()));
    let names: BTreeSet<String> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.contains("ringmill.1") && names.contains("ringmill-serve.1"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
    for command in COMMANDS {
        assert!(names.contains(&format!("ringmill-{}.1", command.join("-"))), "{command:?}: {names:?}");
        let (code, page, error) = run(&[&["man"], command].concat());
        assert_eq!((code, error.as_str()), (0, ""));
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Examples:"), "{command:?}: {page}");
    }
    let (code, _, error) = run(&["man", "topic", "creat"]);
    assert!(code == 2 && error.contains("there is no command `topic creat`"), "{error}");
    let (code, _, error) = run(&["man", "--dir", "/dev/null/man"]);
    assert!(code == 1 && error.contains("cannot write to /dev/null/man"), "{error}");
}
