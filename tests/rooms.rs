//! Which room of `src/` may use which: the table of ARCHITECTURE.md, held against the `use crate::…` lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room, and those that it may use. A room is a file of `src/` and the folder of the same name.
const ROOMS: &[(&str, &[&str])] = &[
    // Callbacks in, host calls out.
    (
        "filter",
        &[
            "config",
            "envoy",
            "export",
            "host",
            "id",
            "lifecycle",
            "otlp",
            "outcome",
            "probe",
            "propagation",
            "resource",
            "sampling",
            "span",
            "stats",
            "tracer",
        ],
    ),
    ("host", &[]),
    // The core: it knows no host.
    (
        "tracer",
        &[
            "batch",
            "config",
            "context",
            "envoy",
            "export",
            "id",
            "lifecycle",
            "otlp",
            "outcome",
            "probe",
            "propagation",
            "resource",
            "sampling",
            "semconv",
            "span",
            "stats",
            "trust",
        ],
    ),
    (
        "config",
        &[
            "batch",
            "envoy",
            "export",
            "json",
            "otlp",
            "outcome",
            "propagation",
            "resource",
            "sampling",
            "semconv",
            "trust",
        ],
    ),
    ("lifecycle", &["export", "stats"]),
    ("stats", &["batch", "export"]),
    ("export", &["batch", "otlp"]),
    ("batch", &["otlp"]),
    ("span", &["context", "envoy", "id", "otlp", "semconv"]),
    ("sampling", &["context", "envoy", "id", "otlp", "probe", "semconv", "shown"]),
    ("propagation", &["context", "envoy", "id", "probe", "shown"]),
    ("trust", &["probe", "propagation", "sampling"]),
    ("outcome", &["envoy", "probe", "sampling", "span"]),
    ("probe", &["envoy", "id"]),
    ("semconv", &["context", "envoy", "json", "otlp"]),
    ("otlp", &["context", "id", "json", "resource", "shown"]),
    ("resource", &["envoy", "id"]),
    ("context", &["id"]),
    ("envoy", &[]),
    ("id", &[]),
    ("json", &[]),
    ("shown", &[]),
];

/// The rooms that know the SDK.
const SDK: [&str; 2] = ["filter", "host"];

/// The files that log. What others have written goes through `export::foreign` there, and is in no message of the configuration.
const LOGGING: [&str; 3] = ["export/health.rs", "filter/root.rs", "filter/running.rs"];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// The rooms that a text names as `crate::ROOM`; what is for tests alone does not count.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = lines.flat_map(|line| line.split("crate::").skip(1));
    let name = |rest: &str| {
        rest.split(|it: char| !it.is_alphanumeric() && it != '_').next().map(str::to_owned)
    };
    after.filter_map(name).collect()
}

/// What each room uses, by the name of the file that does.
fn uses() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut uses = BTreeMap::<String, BTreeMap<String, PathBuf>>::new();
    for file in files(&source) {
        let inside = file.strip_prefix(&source).expect("inside").to_owned();
        let first = inside.iter().next().expect("a name").to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs").to_owned();
        let is_test = inside.iter().any(|part| part == "tests" || part == "tests.rs");
        if room == "lib" || is_test || file.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a text");
        let of_room = uses.entry(room.clone()).or_default();
        of_room.extend(used(&text).into_iter().map(|used| (used, inside.clone())));
        if text.contains("proxy_wasm::") {
            of_room.insert("proxy_wasm".to_owned(), inside);
        }
        of_room.remove(&room);
    }
    uses
}

#[test]
fn rooms_use_only_what_is_below_them() {
    let uses = uses();
    let table: BTreeMap<_, BTreeSet<_>> =
        ROOMS.iter().map(|(room, below)| (*room, below.iter().copied().collect())).collect();
    assert!(uses.keys().eq(table.keys()), "each room is in the table: {:?}", uses.keys());
    for (room, used) in &uses {
        for (below, file) in used {
            let may = if below == "proxy_wasm" {
                SDK.contains(&room.as_str())
            } else {
                table[room.as_str()].contains(below.as_str())
            };
            assert!(may, "{}: {room} must not use {below}", file.display());
        }
        for below in &table[room.as_str()] {
            assert!(
                used.contains_key(*below),
                "{room} does not use {below}: the table is too wide"
            );
        }
    }
}

#[test]
fn few_files_log() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut logging = Vec::new();
    for file in files(&source) {
        let text = std::fs::read_to_string(&file).expect("a text");
        let macros = ["trace!", "debug!", "info!", "warn!", "error!", "log!"];
        let logs = macros.iter().any(|name| text.contains(&format!("log::{name}")));
        let prints = ["println!", "eprintln!", "print!", "eprint!", "dbg!", "use log::{"];
        let prints = prints.iter().find(|it| text.contains(*it));
        assert_eq!(prints, None, "{}: it goes past the log", file.display());
        if logs {
            logging.push(file.strip_prefix(&source).expect("inside").display().to_string());
        }
    }
    logging.sort();
    assert_eq!(logging, LOGGING, "a file that logs may log what others have written");
}

#[test]
fn there_is_no_way_round() {
    let table: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    for (room, below) in ROOMS {
        let mut reached: BTreeSet<&str> = below.iter().copied().collect();
        loop {
            let more: BTreeSet<_> = reached.iter().flat_map(|room| table[room]).copied().collect();
            if more.is_subset(&reached) {
                break;
            }
            reached.extend(more);
        }
        assert!(!reached.contains(room), "{room} uses itself by way of others");
    }
}
