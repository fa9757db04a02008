//! Imports point down the page of each crate, no directory has a circle in it, and files and lines
//! can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each crate's sources, and the file that is its page.
const CRATES: [(&str, &str); 2] = [("src", "main.rs"), ("sandbox/src", "lib.rs")];

/// One source file.
struct Source {
    /// Where it is, for a message.
    file: PathBuf,
    /// Its module's path in the crate; empty for the page.
    module: Vec<String>,
    text: String,
}

/// Every source of a crate.
fn sources(root: &str, page: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let (mut directories, mut found) = (vec![root.clone()], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory of sources can be listed") {
            let file = entry.expect("an entry can be read").path();
            if file.is_dir() {
                directories.push(file);
                continue;
            }
            if file.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let inside = file.strip_prefix(&root).expect("it is below the root");
            let mut module: Vec<String> =
                inside.with_extension("").iter().map(|p| p.to_string_lossy().into()).collect();
            if inside.ends_with("mod.rs") || inside == Path::new(page) {
                module.pop();
            }
            let text = std::fs::read_to_string(&file).expect("a source is text");
            found.push(Source { file, module, text });
        }
    }
    found
}

impl Source {
    /// The paths in the crate that it names, from the crate's root.
    fn imports(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for (at, _) in self.text.match_indices("crate::") {
            named(&[], &self.text[at + 7..], &mut paths);
        }
        for (at, _) in self.text.match_indices("super::") {
            if self.text[..at].ends_with("super::") {
                continue;
            }
            let (mut base, mut rest) = (self.module.as_slice(), &self.text[at..]);
            while let Some(further) = rest.strip_prefix("super::") {
                (base, rest) = (base.split_last().map_or(base, |(_, above)| above), further);
            }
            named(base, rest, &mut paths);
        }
        paths
    }
}

/// Adds the paths that `text` begins with below a base: one, or those between braces.
fn named(base: &[String], text: &str, paths: &mut Vec<Vec<String>>) {
    let list = text.strip_prefix('{').and_then(|inner| inner.split_once('}')).map(|(list, _)| list);
    for path in list.map_or(vec![text], |list| list.split(',').collect()) {
        let end = path
            .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c)))
            .unwrap_or(path.len());
        let path = path.trim_start().get(..end).unwrap_or_default();
        let below = path.split("::").filter(|part| !part.is_empty()).map(String::from);
        paths.push(base.iter().cloned().chain(below).collect());
    }
}

#[test]
fn imports_point_down_it() {
    for (root, page) in CRATES {
        let files = sources(root, page);
        let top = files.iter().find(|file| file.module.is_empty()).expect("there is a page");
        let rooms: Vec<&str> = top
            .text
            .lines()
            .filter_map(|l| l.strip_prefix("mod ")?.split_once(';').map(|(room, _)| room))
            .collect();
        assert!(rooms.len() > 10 && files.len() > rooms.len(), "the page and the house were read");
        let place = |room: &str| rooms.iter().position(|r| *r == room);
        for file in files.iter().filter(|file| !file.module.is_empty()) {
            let own = &file.module[0];
            let from =
                place(own).unwrap_or_else(|| panic!("{} stands on the page", file.file.display()));
            for import in file.imports().iter().filter(|path| path.first() != Some(own)) {
                // What is no module is an item of the page itself.
                let Some(to) = import.first().and_then(|room| place(room)) else { continue };
                assert!(
                    to > from,
                    "{} imports {}, which stands above it",
                    file.file.display(),
                    import[0]
                );
            }
        }
    }
}

#[test]
fn no_directory_has_a_circle_in_it() {
    for (root, page) in CRATES {
        let files = sources(root, page);
        let modules: BTreeSet<&[String]> = files.iter().map(|file| &file.module[..]).collect();
        // Of each directory, which of its modules imports which.
        let mut directories = BTreeMap::<&[String], BTreeMap<&str, BTreeSet<String>>>::new();
        for file in &files {
            for import in file.imports() {
                let known = (0..=import.len()).rev().find(|n| modules.contains(&import[..*n]));
                let to = &import[..known.unwrap_or(0)];
                let common = file.module.iter().zip(to).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (file.module.get(common), to.get(common)) {
                    let directory = directories.entry(&file.module[..common]).or_default();
                    directory.entry(from).or_default().insert(to.clone());
                }
            }
        }
        assert!(directories.len() > 3, "{root}: {:?}", directories.keys());
        for (directory, imports) in &mut directories {
            // Takes away what imports nothing that is left, until nothing is left, or a circle.
            loop {
                let left: BTreeSet<String> = imports.keys().map(|m| m.to_string()).collect();
                imports.retain(|_, to| !to.is_disjoint(&left));
                if imports.len() == left.len() {
                    break;
                }
            }
            assert!(imports.is_empty(), "{root}/{}: {imports:?}", directory.join("/"));
        }
    }
}

#[test]
fn every_room_says_its_job_in_its_first_line() {
    for file in CRATES.iter().flat_map(|(root, page)| sources(root, page)) {
        assert!(file.text.starts_with("//! "), "{} says what it is for", file.file.display());
    }
}

/// A file that is read at one sitting, its tests aside.
const LINES_MAX: usize = 500;

/// rustfmt aims at 100, and leaves alone what it cannot break.
const COLUMNS_MAX: usize = 120;

#[test]
fn every_file_can_be_read_at_one_sitting() {
    for file in CRATES.iter().flat_map(|(root, page)| sources(root, page)) {
        let code = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let is_test = file.module.iter().any(|part| part == "tests");
        let lines = code.lines().count();
        assert!(is_test || lines <= LINES_MAX, "{} has {lines} lines", file.file.display());
    }
}

#[test]
fn no_line_of_code_is_wider_than_a_screen() {
    let roots = ["src", "sandbox/src", "tests", "benches"];
    let root = |root: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut places: Vec<PathBuf> = roots.into_iter().map(root).collect();
    let (mut read, mut wide) = (0, Vec::new());
    while let Some(place) = places.pop() {
        if place.is_dir() {
            // Programs of others that the tests install.
            if !place.ends_with("tests/outside") {
                let inside = std::fs::read_dir(&place).expect("a directory can be listed");
                places.extend(inside.map(|entry| entry.expect("an entry can be read").path()));
            }
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            read += 1;
            let text = std::fs::read_to_string(&place).expect("a source is text");
            let lines = text.lines().enumerate();
            let too_wide = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
            wide.extend(too_wide.map(|(n, _)| format!("{}:{}", place.display(), n + 1)));
        }
    }
    assert!(read > 100 && wide.is_empty(), "{wide:#?}");
}
