//! The house rules as tests: what a compiler and clippy cannot see, but a reader would stumble over.
//!
//! It reads the repository's own files and judges no behaviour. A rule that fires names the file and what to do.
//! ARCHITECTURE.md explains the rules; the lists below are the authoritative ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What may lie at the top of the repository; dot-files are free.
const TOP_LEVEL: [&str; 11] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "broker",
    "engine",
    "fuzz",
    "net",
];
/// The one folder that [`TOP_LEVEL`] lacks only because it holds no crate.
const SCRIPTS: &str = "scripts";

/// Which crates of the workspace a crate may name: `(folder, library name, may use)`.
const LAYERS: [(&str, &str, &[&str]); 10] = [
    ("engine/batch", "ringmill_batch", &[]),
    ("engine", "ringmill_engine", &["ringmill_batch"]),
    ("net", "ringmill_net", &["ringmill_batch"]),
    ("broker/proof/checker", "ringmill_checker", &["ringmill_batch"]),
    (
        "broker/proof/sim",
        "ringmill_sim",
        &["ringmill", "ringmill_batch", "ringmill_engine", "ringmill_net", "ringmill_checker"],
    ),
    ("broker/proof/torture", "ringmill_torture", &["ringmill_batch", "ringmill_net", "ringmill_checker"]),
    ("broker/groups", "ringmill_groups", &["ringmill_net"]),
    ("broker", "ringmill", &["ringmill_batch", "ringmill_engine", "ringmill_net", "ringmill_groups"]),
    ("bench", "ringmill_bench", &["ringmill_batch", "ringmill_engine", "ringmill_net"]),
    (
        "fuzz",
        "ringmill_fuzz",
        &["ringmill", "ringmill_batch", "ringmill_engine", "ringmill_groups", "ringmill_net", "ringmill_sim"],
    ),
];

/// The only files that may hold unsafe code. ARCHITECTURE.md names the same ones and says why.
const UNSAFE_FILES: [&str; 5] = [
    "broker/proof/torture/src/power/shutdown.rs",
    "engine/src/disk/syscalls.rs",
    "engine/src/disk/uring.rs",
    "fuzz/src/allocation.rs",
    "net/src/transport/uring.rs",
];

const LINES_MAX: usize = 600;
/// Files longer than [`LINES_MAX`], with their length. An entry may only shrink, and goes when it fits.
const LONG_FILES: [(&str, usize); 0] = [];

/// Names that say nothing about what lies inside.
const EMPTY_NAMES: [&str; 5] = ["common", "helpers", "misc", "util", "utils"];

/// Marks of unfinished work, taken apart so that this file does not find itself.
const UNFINISHED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ign", "ore"),
    concat!("HA", "CK:"),
];

#[test]
fn the_top_level_holds_only_what_was_agreed() {
    let allowed: BTreeSet<&str> = TOP_LEVEL.into_iter().chain([SCRIPTS, "target"]).collect();
    let strangers: Vec<String> = entries(&root())
        .iter()
        .map(|path| file_name(path))
        .filter(|name| !name.starts_with('.') && !allowed.contains(name.as_str()))
        .collect();
    assert!(strangers.is_empty(), "not agreed at the top level: {strangers:?}");
}

#[test]
fn crates_depend_only_downwards() {
    let mut broken = Vec::new();
    for (folder, name, may_use) in LAYERS {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        let declared = workspace_crates(
            manifest.lines().map(|line| line.split(['.', '=', ' ']).next().unwrap_or_default().replace('-', "_")),
        );
        let used = rust_files()
            .into_iter()
            .filter(|file| owner(file) == folder)
            .flat_map(|file| workspace_crates(crate_paths(&read(&root().join(file)))))
            .collect();
        for other in declared.union(&used).filter(|other| *other != name && !may_use.contains(&other.as_str())) {
            broken.push(format!("{folder} must not know {other}"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let bare =
        rust_files().into_iter().filter(|file| !read(&root().join(file)).starts_with("//! ")).collect::<Vec<_>>();
    assert!(bare.is_empty(), "these open without a `//!` header: {bare:#?}");
}

#[test]
fn every_script_opens_with_what_it_is_for() {
    let bare =
        script_files().into_iter().filter(|file| !has_script_header(&read(&root().join(file)))).collect::<Vec<_>>();
    assert!(bare.is_empty(), "these open without a `#` comment or a docstring: {bare:#?}");
}

#[test]
fn no_file_outgrows_a_sitting() {
    let mut broken = Vec::new();
    for file in rust_files().into_iter().chain(script_files()) {
        let lines = read(&root().join(&file)).lines().count();
        match LONG_FILES.iter().find(|(listed, _)| *listed == file) {
            None if lines > LINES_MAX => broken.push(format!("{file} has {lines} lines, the limit is {LINES_MAX}")),
            Some((_, listed)) if lines > *listed => broken.push(format!("{file} grew from {listed} to {lines} lines")),
            Some((_, listed)) if lines < *listed => {
                broken.push(format!("{file} shrank to {lines} lines: lower its entry from {listed}"))
            }
            None | Some(_) => {}
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn unsafe_code_stays_in_its_named_files() {
    let word = concat!("un", "safe");
    let strays = rust_files()
        .into_iter()
        .filter(|file| !UNSAFE_FILES.contains(&file.as_str()))
        .filter(|file| read(&root().join(file)).lines().any(|line| words(code(line)).any(|found| found == word)))
        .collect::<Vec<_>>();
    assert!(strays.is_empty(), "{word} code outside the listed files: {strays:#?}");
}

#[test]
fn the_architecture_page_names_the_unsafe_files() {
    let path = root().join("ARCHITECTURE.md");
    if !path.exists() {
        return;
    }
    let page = read(&path);
    let unnamed =
        UNSAFE_FILES.into_iter().filter(|file| root().join(file).exists() && !page.contains(file)).collect::<Vec<_>>();
    assert!(unnamed.is_empty(), "ARCHITECTURE.md does not name {unnamed:?}");
}

#[test]
fn no_unfinished_work_is_left_lying() {
    let mut found = Vec::new();
    for file in rust_files().into_iter().chain(script_files()) {
        for (at, line) in read(&root().join(&file)).lines().enumerate() {
            if UNFINISHED.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{file}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_module_is_named_after_nothing() {
    let empty = rust_files()
        .into_iter()
        .filter(|file| file.split('/').any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"))))
        .collect::<Vec<_>>();
    assert!(empty.is_empty(), "these names say nothing: {empty:#?}");
}

#[test]
fn the_protocol_page_explains_the_errors_that_are_answered() {
    let page = read(&root().join("net/PROTOCOL.md"));
    let (_, page) = page.split_once("## Error codes").expect("the page has the section");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let explained: BTreeSet<&str> = rows.filter(|name| is_error_name(name)).collect();
    let answered: BTreeSet<String> = rust_files()
        .into_iter()
        .filter(|file| file.starts_with("broker/src/") || file.starts_with("broker/groups/src/"))
        .filter(|file| !file.starts_with("broker/src/cli/"))
        .flat_map(|file| error_names(&read(&root().join(file))))
        .collect();
    let answered: BTreeSet<&str> = answered.iter().map(String::as_str).collect();
    let unexplained: Vec<_> = answered.difference(&explained).collect();
    assert!(unexplained.is_empty(), "give these a cause in net/src/wire/error_cause.rs: {unexplained:?}");
    let unused: Vec<_> = explained.difference(&answered).collect();
    assert!(unused.is_empty(), "nothing answers these: take them out of net/src/wire/error_cause.rs: {unused:?}");
}

fn is_error_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
}

/// The codes that a source names as `ErrorCode::LikeThis`, as Kafka writes them.
fn error_names(source: &str) -> Vec<String> {
    let variants =
        source.lines().flat_map(|line| code(line).split("ErrorCode::").skip(1).filter_map(|rest| words(rest).next()));
    let screaming = |variant: &str| {
        let mut name = String::new();
        for letter in variant.chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    };
    // A function of the type, such as `from_code`, begins with a small letter.
    variants.filter(|variant| variant.starts_with(|first: char| first.is_ascii_uppercase())).map(screaming).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the broker lies one level below the root").to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust sources, relative to the root.
fn rust_files() -> Vec<String> {
    let mut files = Vec::new();
    for folder in ["engine", "net", "broker", "bench", "fuzz"] {
        walk(&root().join(folder), &mut files);
    }
    files.retain(|file| file.ends_with(".rs"));
    files
}

/// All scripts (bash, Python, and the Rust of the interop drivers), relative to the root; other files under `scripts/` are data.
fn script_files() -> Vec<String> {
    let mut files = Vec::new();
    walk(&root().join(SCRIPTS), &mut files);
    let named = [".sh", ".py", ".rs"];
    files.retain(|file| named.iter().any(|end| file.ends_with(end)) || read(&root().join(file)).starts_with("#!"));
    files
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for path in entries(folder) {
        let name = file_name(&path);
        if path.is_dir() && name != "target" && name != "corpus" && name != "__pycache__" {
            walk(&path, found);
        } else if path.is_file() {
            let relative = path.strip_prefix(root()).expect("the walk starts at the root");
            found.push(relative.to_str().expect("our file names are UTF-8").to_owned());
        }
    }
}

/// The folder's entries in a stable order.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("the entry is readable").path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("an entry has a name").to_string_lossy().into_owned()
}

/// The folder of the crate that `file` belongs to. The batch crate lies inside the engine's folder.
fn owner(file: &str) -> &'static str {
    let inside = |folder: &str| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    LAYERS.iter().map(|(folder, ..)| *folder).find(|folder| inside(folder)).expect("every source lies in a crate")
}

fn workspace_crates(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().filter(|name| LAYERS.iter().any(|(_, library, _)| library == name)).collect()
}

/// Every identifier in the code that is followed by `::`, such as the crate's name in a path.
fn crate_paths(source: &str) -> Vec<String> {
    let before_colons = |line: &str| {
        let mut parts: Vec<&str> = code(line).split("::").collect();
        parts.pop();
        parts.into_iter().map(|part| words(part).last().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    source.lines().flat_map(before_colons).collect()
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// A shebang, then a comment or a docstring; in Rust what every source opens with.
fn has_script_header(source: &str) -> bool {
    let mut lines = source.lines().skip_while(|line| line.starts_with("#!"));
    lines.next().is_some_and(|line| ["# ", "\"\"\"", "//! "].iter().any(|opening| line.starts_with(opening)))
}

#[test]
fn the_scanner_sees_what_it_must() {
    assert_eq!(crate_paths("use ringmill_net::wire; // ringmill_engine::log"), ["ringmill_net"]);
    assert!(crate_paths("let name = \"ringmill\";").is_empty());
    assert_eq!(owner("engine/batch/src/lib.rs"), "engine/batch");
    assert_eq!(owner("engine/src/lib.rs"), "engine");
    assert_eq!(error_names("ErrorCode::NotLeader, ErrorCode::from_code // ErrorCode::None"), ["NOT_LEADER"]);
    assert!(has_script_header("#!/bin/sh\n# Runs it.\n") && !has_script_header("#!/bin/sh\nset -e\n"));
}
