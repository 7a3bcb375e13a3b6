//! The documentation: links lead somewhere, and what people copy is named in README.

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for folder in [".", "docs", "tests/peers"] {
        for entry in fs::read_dir(harness::root().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    Ok(pages)
}

/// The targets of a page's links and pictures. What stands between backticks is no link.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    let prose = prose.flat_map(|block| block.split('`').step_by(2));
    prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The names by which a page's headings are linked to.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let name = line.trim_start_matches('#').trim().to_lowercase();
        let kept = name.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    let mut followed = 0;
    for page in pages()? {
        let text = fs::read_to_string(&page)?;
        let folder = page.parent().context("a folder")?;
        let local = links(&text).filter(|link| !link.contains("://"));
        for link in local {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { folder.join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target)?);
                assert!(there.contains(anchor), "{}: {link}: {there:?}", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 40, "links are found: {followed}");
    Ok(())
}

#[test]
fn readme_names_what_people_copy_and_read() -> Result<()> {
    let readme = fs::read_to_string(harness::root().join("README.md"))?;
    let linked: BTreeSet<_> =
        links(&readme).map(|link| harness::root().join(link.trim_end_matches('/'))).collect();
    let here = |folder: &str| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(harness::root().join(folder))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    // The demonstration is a target of make.
    let copied = here("examples")?.into_iter().filter(|path| !path.ends_with("demo"));
    for path in copied.chain(here("docs")?).chain([harness::root().join("envoy")]) {
        assert!(linked.contains(&path), "README names {}", path.display());
    }
    Ok(())
}

#[test]
fn each_file_of_an_example_is_named_on_a_page() -> Result<()> {
    let mut text = String::new();
    for page in pages()? {
        text.push_str(&fs::read_to_string(page)?);
    }
    let is_named =
        |path: &Path| path.file_name().is_some_and(|it| text.contains(&*it.to_string_lossy()));
    for folder in [
        "examples/istio",
        "examples/envoy-gateway",
        "examples/collector",
        "examples/prometheus",
        "envoy",
    ] {
        for entry in fs::read_dir(harness::root().join(folder))? {
            let path = entry?.path();
            assert!(is_named(&path), "a page names {}", path.display());
        }
    }
    Ok(())
}

#[test]
fn manifests_alerts_and_the_dashboard_say_of_which_version_they_are() -> Result<()> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const OURS: [&str; 5] = [
        "WasmPlugin",
        "TrafficExtension",
        "EnvoyFilter",
        "EnvoyExtensionPolicy",
        "EnvoyPatchPolicy",
    ];
    let label = format!("app.kubernetes.io/version: \"{VERSION}\"");
    let mut labelled = 0;
    for folder in ["examples/istio", "examples/envoy-gateway"] {
        for entry in fs::read_dir(harness::root().join(folder))? {
            let path = entry?.path();
            for resource in fs::read_to_string(&path)?.split("\n---\n") {
                let is_ours = OURS.iter().any(|kind| resource.contains(&format!("kind: {kind}\n")));
                assert_eq!(resource.contains(&label), is_ours, "{}: {label}", path.display());
                labelled += usize::from(is_ours);
            }
        }
    }
    assert!(labelled >= 9, "the manifests are found: {labelled}");
    let prometheus = harness::root().join("examples/prometheus");
    let alerts = fs::read_to_string(prometheus.join("alerts.yaml"))?;
    let label = format!("labels: {{severity: warning, version: \"{VERSION}\"}}");
    let count = |text: &str| alerts.matches(text).count();
    assert_eq!(count(&label), count("- alert: "), "each alert has {label}");
    let dashboard = fs::read_to_string(prometheus.join("dashboard.json"))?;
    assert!(
        dashboard.contains(&format!("otel-proxy-wasm {VERSION}.\"")),
        "the dashboard's version"
    );
    Ok(())
}

#[test]
fn the_module_is_as_small_as_the_page_about_istio_says() -> Result<()> {
    let page = fs::read_to_string(harness::root().join("docs/istio.md"))?;
    let (_, rest) = page.split_once("this one has at most ").context("its size")?;
    let most: u64 = rest.split_once('.').context("its end")?.0.parse()?;
    let size = fs::metadata(harness::module()?)?.len();
    assert!(size <= most && most < 268_435_456, "{size} bytes, at most {most}");
    Ok(())
}
