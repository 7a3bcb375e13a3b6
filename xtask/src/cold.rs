//! Which functions are optimized for size: those that run once for a configuration or a batch, or for few requests, and those in which a
//! request spends next to nothing.
//!
//! It only lists them: LLVM reads the list while it makes the module.

use crate::image::sha256;
use anyhow::{Context, Result, ensure};
use rustc_demangle::demangle;
use std::path::{Path, PathBuf};

/// The paths of such functions have one of these in them.
const COLD: &[&str] = &[
    "base64::",
    "httpdate::",
    "otel_proxy_wasm::config::",
    "otel_proxy_wasm::context::TraceState",
    "otel_proxy_wasm::envoy::attempt::",
    "otel_proxy_wasm::envoy::expression::",
    "otel_proxy_wasm::envoy::node::",
    "otel_proxy_wasm::export::",
    "otel_proxy_wasm::filter::answer::",
    "otel_proxy_wasm::filter::metrics::",
    "otel_proxy_wasm::filter::open::",
    "otel_proxy_wasm::filter::process::",
    "otel_proxy_wasm::filter::root::",
    "otel_proxy_wasm::host::shared::",
    "otel_proxy_wasm::json::",
    "otel_proxy_wasm::lifecycle::",
    "otel_proxy_wasm::otlp::cut::",
    "otel_proxy_wasm::otlp::gzip::",
    "otel_proxy_wasm::otlp::json::",
    "otel_proxy_wasm::otlp::request::",
    "otel_proxy_wasm::otlp::response::",
    "otel_proxy_wasm::otlp::rpc_status::",
    "otel_proxy_wasm::outcome::",
    "otel_proxy_wasm::propagation::b3::",
    "otel_proxy_wasm::propagation::b3_headers::",
    "otel_proxy_wasm::propagation::b3multi::",
    "otel_proxy_wasm::propagation::datadog::",
    "otel_proxy_wasm::propagation::expose::",
    "otel_proxy_wasm::propagation::google::",
    "otel_proxy_wasm::propagation::jaeger::",
    "otel_proxy_wasm::propagation::ottrace::",
    "otel_proxy_wasm::propagation::server_timing::",
    "otel_proxy_wasm::propagation::text::",
    "otel_proxy_wasm::propagation::xray::",
    "otel_proxy_wasm::resource::",
    "otel_proxy_wasm::sampling::",
    "otel_proxy_wasm::semconv::Conventions::new",
    "otel_proxy_wasm::semconv::address::",
    "otel_proxy_wasm::semconv::baggage::",
    "otel_proxy_wasm::semconv::configured::",
    "otel_proxy_wasm::semconv::envoy::",
    "otel_proxy_wasm::semconv::forwarded::",
    "otel_proxy_wasm::semconv::grpc::",
    "otel_proxy_wasm::semconv::held::",
    "otel_proxy_wasm::semconv::legacy::",
    "otel_proxy_wasm::semconv::name::",
    "otel_proxy_wasm::semconv::opt_in::",
    "otel_proxy_wasm::semconv::redaction::",
    "otel_proxy_wasm::semconv::route::",
    "otel_proxy_wasm::semconv::start::",
    "otel_proxy_wasm::semconv::telemetry::",
    "otel_proxy_wasm::semconv::value::",
    "otel_proxy_wasm::stats::",
    "otel_proxy_wasm::tracer::Tracer::new",
    "otel_proxy_wasm::tracer::attempt::",
    "otel_proxy_wasm::tracer::attributes::",
    "otel_proxy_wasm::tracer::border::",
    "otel_proxy_wasm::tracer::keep::",
    "otel_proxy_wasm::tracer::lifecycle::",
    "otel_proxy_wasm::tracer::long_streams::",
    "otel_proxy_wasm::tracer::redirect::",
    "otel_proxy_wasm::trust::",
    "percent_encoding::",
    "ryu::",
    "serde_core::",
    "serde_json::",
];

/// What each of them is told (LLVM, function attributes): as few bytes as can be, and only what is tiny is put where it is called from.
const ATTRIBUTES: &[&str] = &["minsize", "optsize", "function-inline-threshold=25"];

/// Writes the list that LLVM's `forceattrs-csv-path` takes of the functions that a file of LLVM's own language defines. Its name says what
/// is in it, so that Cargo builds anew when that changes.
///
/// # Errors
/// The file can't be read, has none of them, or the list can't be written.
pub(crate) fn write(code: &Path, folder: &Path) -> Result<PathBuf> {
    let text =
        std::fs::read_to_string(code).with_context(|| format!("reading {}", code.display()))?;
    let list = list(&text);
    ensure!(!list.is_empty(), "{} defines none of the functions", code.display());
    std::fs::create_dir_all(folder)?;
    let path = folder.join(sha256(list.as_bytes())).with_extension("csv");
    std::fs::write(&path, list).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn list(code: &str) -> String {
    let mut list = String::new();
    for function in code.lines().filter_map(defined).filter(|name| is_cold(name)) {
        for attribute in ATTRIBUTES {
            list.extend([function, ",", attribute, "\n"]);
        }
    }
    list
}

/// The function that a line defines: `define internal void @"name"(ptr %self) …`.
fn defined(line: &str) -> Option<&str> {
    let (_, named) = line.strip_prefix("define ")?.split_once('@')?;
    let (name, _) = named.split_once('(')?;
    Some(name.trim_matches('"'))
}

fn is_cold(name: &str) -> bool {
    let path = demangle(name).to_string();
    COLD.iter().any(|part| path.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"
define internal void @_ZN15otel_proxy_wasm6config6Config5parse17hb279c100b6cc2b17E(ptr %self) unnamed_addr #0 {
  call void @_ZN15otel_proxy_wasm4json5other17h4d0c37f1ad863fbdE()
define internal fastcc void @"_ZN87_$LT$otel_proxy_wasm..filter..root..Root$u20$as$u20$proxy_wasm..traits..RootContext$GT$12on_configure17h4d0c37f1ad863fbdE"(ptr %self) {
define internal void @_ZN15otel_proxy_wasm5batch5Queue4push17hb279c100b6cc2b17E(ptr %self) {
define void @proxy_on_log(i32 %0) {
"#;

    #[test]
    fn what_runs_for_no_request_is_listed() {
        let listed = list(CODE);
        let expected: Vec<String> = [
            "_ZN15otel_proxy_wasm6config6Config5parse17hb279c100b6cc2b17E",
            "_ZN87_$LT$otel_proxy_wasm..filter..root..Root$u20$as$u20$proxy_wasm..traits..RootContext$GT$12on_configure17h4d0c37f1ad863fbdE",
        ]
        .iter()
        .flat_map(|name| ATTRIBUTES.iter().map(move |attribute| format!("{name},{attribute}")))
        .collect();
        assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn another_list_has_another_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let code = folder.path().join("code.ll");
        let written = |text: &str| {
            std::fs::write(&code, text).expect("written");
            write(&code, folder.path())
        };
        let first = written(CODE).expect("a list");
        assert_eq!(std::fs::read_to_string(&first).expect("readable"), list(CODE));
        assert_eq!(written(CODE).expect("the same list"), first);
        let other = CODE.replace("5parse", "5other");
        assert_ne!(written(&other).expect("another list"), first);
        assert!(written("define void @proxy_on_log(i32 %0) {").is_err(), "no such function");
    }
}
