//! What `check-config` says of files, as one calls it: the filter's own words, and a status for CI.

use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The status, and all that is said.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// What is said of a file with this name and text.
fn check(name: &str, text: &str) -> Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join(name), text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_check-config"));
    command.current_dir(folder.path()).arg(name).env("KEY_OF_THIS_TEST", "s3cret");
    Ok(said(&command.output()?))
}

const UNKNOWN: &str = r#"configuration: envoy: unknown key "clutser"; accepted: cluster, "#;

#[test]
fn the_filters_words_are_said_of_what_it_refuses() -> Result<()> {
    let cases = [
        ("a.json", r#"{"envoy": {"clutser": "a"}}"#, "a.json: ", "JSON alone"),
        ("a.yaml", "envoy: {clutser: a}\n", "a.yaml: ", "YAML alone"),
        (
            "a.yaml",
            "kind: WasmPlugin\nmetadata: {name: otel, namespace: shop}\nspec: {pluginConfig: {envoy: {clutser: a}}}",
            "a.yaml: WasmPlugin shop/otel: ",
            "Istio's plugin",
        ),
        (
            "a.json",
            r#"{"kind": "WasmPlugin", "metadata": {"name": "otel"}, "spec": {"pluginConfig": {"envoy": {"clutser": "a"}}}}"#,
            "a.json: WasmPlugin otel: ",
            "in JSON, without a name space",
        ),
        (
            "a.yaml",
            "kind: Service\n---\nkind: TrafficExtension\nmetadata: {name: otel}\nspec: {wasm: {pluginConfig: {envoy: {clutser: a}}}}",
            "a.yaml: TrafficExtension otel: ",
            "Istio's extension, behind another resource",
        ),
        (
            "a.yaml",
            "kind: List\nitems:\n- kind: EnvoyExtensionPolicy\n  metadata: {name: p}\n  spec: {wasm: [{name: otel, config: {envoy: {clutser: a}}}]}",
            "a.yaml: EnvoyExtensionPolicy p otel: ",
            "Envoy Gateway's policy, in a list",
        ),
        (
            "a.yaml",
            "static_resources:\n  filters:\n  - '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    config:\n      name: otel\n      configuration:\n        '@type': type.googleapis.com/google.protobuf.StringValue\n        value: '{\"envoy\": {\"clutser\": 1}}'",
            "a.yaml: Wasm filter otel: ",
            "Envoy's configuration",
        ),
    ];
    for (file, text, place, reason) in cases {
        let (status, output) = check(file, text)?;
        assert_eq!(status, Some(1), "{reason}: {output}");
        assert!(output.starts_with(&format!("{place}{UNKNOWN}")), "{reason}: {output}");
    }
    Ok(())
}

#[test]
fn what_is_taken_and_looks_wrong_is_said() -> Result<()> {
    let plugin = |spec: &str| format!("kind: WasmPlugin\nmetadata: {{name: otel}}\nspec: {spec}\n");
    let envoy = |cluster: &str| {
        format!(
            "static_resources:\n  clusters: [{{name: web}}, {{name: otel_collector}}]\n  filters:\n  - '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    config:\n      configuration:\n        '@type': type.googleapis.com/google.protobuf.StringValue\n        value: '{{\"envoy\": {{\"cluster\": \"{cluster}\"}}}}'\n"
        )
    };
    let ok = "a.yaml: WasmPlugin otel: ok";
    let cases = [
        (plugin("{pluginConf: {}}"), format!("{ok}: no configuration, the defaults apply\n"), "a misspelt pluginConfig"),
        (plugin("{pluginConfig: {}}"), format!("{ok}\n"), "an empty one"),
        (
            plugin("{pluginConfig: {envoy: {cluster: 'outbound|4318|otel.shop'}}}"),
            format!(
                "a.yaml: WasmPlugin otel: warning: outbound|4318|otel.shop is no cluster of Istio: outbound|PORT||HOST is one\n{ok}\n"
            ),
            "a bar too few",
        ),
        (plugin("{pluginConfig: {envoy: {cluster: 'outbound|4318||otel.shop'}}}"), format!("{ok}\n"), "one of Istio's"),
        (envoy("otel_collector"), "a.yaml: Wasm filter: ok\n".to_owned(), "a cluster of the file"),
        (
            envoy("otel"),
            "a.yaml: Wasm filter: warning: the file has no cluster otel; it has web, otel_collector\na.yaml: Wasm filter: ok\n".to_owned(),
            "one that it has not",
        ),
    ];
    for (text, expected, reason) in cases {
        assert_eq!(check("a.yaml", &text)?, (Some(0), expected), "{reason}");
    }
    Ok(())
}

#[test]
fn what_arrives_as_no_json_is_explained() -> Result<()> {
    let of_struct = "static_resources:\n  filter:\n    '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    config:\n      configuration: {'@type': type.googleapis.com/google.protobuf.Struct, value: {}}";
    let cases = [
        (
            "a.yaml",
            of_struct,
            "a.yaml: Wasm filter: configuration: not JSON: it looks like a google.protobuf.Struct",
        ),
        (
            "a.json",
            "{\n\"a\": }",
            "a.json: configuration: not JSON: expected value at line 2 column 6",
        ),
        (
            "a.json",
            r#"{"envoy": {}, "envoy": {}}"#,
            "a.json: configuration: not JSON: a key stands twice",
        ),
    ];
    for (file, text, expected) in cases {
        let (status, output) = check(file, text)?;
        assert_eq!(status, Some(1), "{output}");
        assert!(output.starts_with(expected), "{expected}: {output}");
    }
    Ok(())
}

#[test]
fn what_it_takes_is_said_with_its_warnings() -> Result<()> {
    let plugin = |env: &str| {
        format!(
            "kind: WasmPlugin\nmetadata: {{name: otel}}\nspec:\n  vmConfig: {{env: [{env}]}}\n  pluginConfig:\n    resource: {{attributes_list: 'a=${{KEY_OF_THIS_TEST}}'}}\n"
        )
    };
    let cases = [
        (
            "{name: KEY_OF_THIS_TEST, valueFrom: HOST}",
            "a.yaml: WasmPlugin otel: ok\n",
            "of this process",
        ),
        ("{name: KEY_OF_THIS_TEST, value: b}", "a.yaml: WasmPlugin otel: ok\n", "in the plugin"),
        (
            "",
            "a.yaml: WasmPlugin otel: warning: configuration: resource.attributes_list: a variable in it is not set",
            "nowhere",
        ),
    ];
    for (env, expected, reason) in cases {
        let (status, output) = check("a.yaml", &plugin(env))?;
        assert_eq!(status, Some(0), "{reason}: {output}");
        assert!(output.starts_with(expected) && output.ends_with(": ok\n"), "{reason}: {output}");
        assert!(!output.contains("s3cret"), "{reason}: {output}");
    }
    Ok(())
}

#[test]
fn a_file_without_a_configuration_is_a_mistake() -> Result<()> {
    for (file, text, expected) in [
        ("a.yaml", "kind: Service\n", "a.yaml: no configuration of a Wasm filter is in it\n"),
        ("a.yaml", "", "a.yaml: no configuration of a Wasm filter is in it\n"),
        (
            "a.yaml",
            "static_resources: {}\n",
            "a.yaml: no configuration of a Wasm filter is in it\n",
        ),
        ("a.yaml", "a: [", "a.yaml: "),
    ] {
        let (status, output) = check(file, text)?;
        assert_eq!(status, Some(2), "{text}: {output}");
        assert!(output.starts_with(expected), "{text}: {output}");
    }
    let command = || Command::new(env!("CARGO_BIN_EXE_check-config"));
    let (status, output) = said(&command().output()?);
    assert!(status == Some(2) && output.starts_with("usage: "), "{output}");
    let (status, output) = said(&command().arg("absent.yaml").output()?);
    assert!(status == Some(2) && output.starts_with("absent.yaml: "), "{output}");
    let input = fs::File::open(root().join("src/config/tests/complete.json"))?;
    let (status, output) = said(&command().arg("-").stdin(Stdio::from(input)).output()?);
    assert_eq!((status, output.as_str()), (Some(0), "-: ok\n"), "from the standard input");
    Ok(())
}

#[test]
fn what_people_copy_is_taken() -> Result<()> {
    const HOLDERS: [&str; 4] = [
        "google.protobuf.StringValue",
        "kind: WasmPlugin",
        "kind: TrafficExtension",
        "kind: EnvoyExtensionPolicy",
    ];
    let mut files = Vec::new();
    for folder in [
        "envoy",
        "envoy/dynamic",
        "examples/docker-compose",
        "examples/envoy-gateway",
        "examples/istio",
    ] {
        for entry in fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
            if is_yaml
                && HOLDERS
                    .iter()
                    .any(|it| fs::read_to_string(&path).is_ok_and(|text| text.contains(it)))
            {
                files.push(path);
            }
        }
    }
    assert!(files.len() >= 15, "the files are found: {files:?}");
    for file in files {
        let output = Command::new(env!("CARGO_BIN_EXE_check-config")).arg(&file).output()?;
        let (status, output) = said(&output);
        assert_eq!(status, Some(0), "{output}");
        assert!(output.ends_with(": ok\n"), "{output}");
    }
    Ok(())
}

#[test]
fn the_secret_of_the_page_about_istio_is_taken() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/istio.md"))?;
    let block = page.split("```yaml\n").find(|block| block.contains("valueFrom: HOST"));
    let (spec, _) = block.and_then(|block| block.split_once("```")).expect("the block");
    let plugin = format!("kind: WasmPlugin\nmetadata: {{name: otel}}\n{spec}");
    let (status, output) = check("a.yaml", &plugin)?;
    assert_eq!(status, Some(0), "{output}");
    let place = "tracer_provider.processors[0].batch.exporter.otlp_http.headers[0].value";
    assert!(output.contains(&format!("{place}: a variable in it is not set")), "{output}");
    Ok(())
}
