//! Marks of unfinished work, and words that do not belong in the project.

use aquifer_house::{expect_none, files, product_lines, rust_files};

/// Written in two parts, so that this file does not offend itself.
fn word(first: &str, second: &str) -> String {
    format!("{first}{second}")
}

#[test]
fn nothing_unfinished_stands_in_the_code() {
    let marks = [word("todo", "!("), word("unimplemented", "!("), word("TO", "DO"), word("FIX", "ME")];
    let mut offences = Vec::new();
    for file in rust_files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                offences.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    expect_none("unfinished work", &offences);
}

/// Replaces libc's getrandom for the simulator's process, which only the C interface can.
const SIMULATED_ENTROPY: &str = "tests/sim/src/entropy.rs";

#[test]
fn unsafe_lives_in_the_disk_crate_alone() {
    let block = word("unsafe", " {");
    let mut offences = Vec::new();
    let allowed = |path: &str| path.starts_with("storage-backends/disk/") || path == SIMULATED_ENTROPY;
    for file in rust_files().iter().filter(|file| !allowed(&file.path)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if line.contains(&block)
                || line.contains(&word("unsafe", " fn"))
                || line.contains(&word("unsafe", " impl"))
            {
                offences.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    expect_none("unsafe outside storage-backends/disk", &offences);
}

#[test]
fn there_are_no_globals() {
    let markers = [word("static mut", " "), word("thread_", "local!"), word("lazy_", "static!")];
    let mut offences = Vec::new();
    for file in rust_files() {
        for (number, line) in product_lines(&file) {
            let declares =
                line.trim_start().starts_with("static ") || line.trim_start().starts_with("pub static ");
            if declares && !line.contains("GlobalAlloc") && !line.contains("MiMalloc")
                || markers.iter().any(|marker| line.contains(marker.as_str()))
            {
                offences.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    expect_none("state belongs to an owner, not to the process", &offences);
}

#[test]
fn ignored_tests_do_not_exist() {
    let mark = word("#[ign", "ore");
    let offences: Vec<_> =
        rust_files().iter().filter(|file| file.text.contains(&mark)).map(|file| file.path.clone()).collect();
    expect_none("a test runs, or prints that it was skipped", &offences);
}

#[test]
fn no_registry_and_no_path_of_a_developers_machine_is_named() {
    let words = [
        word("index.crates", ".io"),
        word("static.crates", ".io"),
        word("repo1.maven", ".org"),
        word("repo.maven.apache", ".org"),
        word("files.pythonhosted", ".org"),
        word("proxy.golang", ".org"),
        word("registry.npmjs", ".org"),
        word("deb.debian", ".org"),
        word("/work", "/main"),
        word("/work", "/shared"),
        word("/root", "/."),
    ];
    let mut offences = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if words.iter().any(|word| line.contains(word.as_str())) {
                offences.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    expect_none("names that belong to one machine", &offences);
}
