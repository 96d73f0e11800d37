//! Files stay small enough to have one subject.

use aquifer_house::{expect_none, rust_files};

const MOST_LINES: usize = 600;

/// Files over the limit. The list only shrinks.
const EXCEPTIONS: &[&str] = &[];

#[test]
fn files_have_at_most_600_lines() {
    let offences: Vec<_> = rust_files()
        .iter()
        .map(|file| (file.path.as_str(), file.text.lines().count()))
        .filter(|(path, lines)| *lines > MOST_LINES && !EXCEPTIONS.contains(path))
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    expect_none("split what has outgrown one subject", &offences);
}

#[test]
fn the_list_of_exceptions_only_shrinks() {
    let files = rust_files();
    let offences: Vec<_> = EXCEPTIONS
        .iter()
        .filter(|path| {
            !files.iter().any(|file| file.path == **path && file.text.lines().count() > MOST_LINES)
        })
        .map(|path| (*path).to_owned())
        .collect();
    expect_none("no longer exceptions, take them off the list", &offences);
}
