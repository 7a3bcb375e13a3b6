//! Development tasks: lists what is optimized for size, makes the module that people deploy out of the one that was linked, the image
//! that holds it, and what a release consists of.
//!
//! It builds nothing itself; the Makefile says what comes before.

mod changelog;
mod cold;
mod exports;
mod functions;
mod image;
mod release;

use anyhow::{Context, Result, bail, ensure};
use exports::KEPT;
use image::Commit;
use release::Parts;
use std::path::Path;
use walrus::{ExportItem, ModuleConfig};

/// The most that the deployed module may weigh, in bytes.
const MAX_SIZE: usize = 480 * 1024;

/// The most that one function of it may have, in instructions. V8 takes memory for the largest one when it compiles the module, and Envoy
/// keeps that: 10 MiB when one had twice as many.
const MAX_FUNCTION: u64 = 5_000;

const USAGE: &str = "xtask cold CODE.ll FOLDER
       xtask module LINKED.wasm DEPLOYED.wasm
       xtask image DEPLOYED.wasm COMMIT TIME FOLDER
       xtask release-version CHANGELOG.md TAG, which may be empty
       xtask release DEPLOYED.wasm IMAGE SBOM CHANGELOG.md FOLDER";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cold", code, folder] => {
            println!("{}", cold::write(Path::new(code), Path::new(folder))?.display());
            Ok(())
        }
        ["module", linked, deployed] => module(Path::new(linked), Path::new(deployed)),
        ["image", deployed, id, time, folder] => {
            let module = std::fs::read(deployed).with_context(|| format!("reading {deployed}"))?;
            image::write(&module, Commit { id, time }, Path::new(folder))
        }
        ["release-version", changelog, tag] => release::check(Path::new(changelog), tag),
        ["release", deployed, image, sbom, changelog, folder] => {
            let [module, image, sbom, changelog] =
                [deployed, image, sbom, changelog].map(Path::new);
            release::write(Parts { module, image, sbom, changelog }, Path::new(folder))
        }
        _ => bail!("usage: {USAGE}"),
    }
}

/// Drops the exports that the filter doesn't need, what only they need, all names, and functions that are there twice.
fn module(linked: &Path, deployed: &Path) -> Result<()> {
    let bytes = std::fs::read(linked).with_context(|| format!("reading {}", linked.display()))?;
    let (name, size) = largest_function(&bytes)?;
    ensure!(
        size <= MAX_FUNCTION,
        "the function {name} has {size} instructions; at most {MAX_FUNCTION} are allowed: see `config.rs` on #[inline(never)]"
    );
    let bytes = stripped(&bytes)?;
    ensure!(
        bytes.len() <= MAX_SIZE,
        "the module has {} bytes; at most {MAX_SIZE} are allowed",
        bytes.len()
    );
    if let Some(folder) = deployed.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(deployed, &bytes).with_context(|| format!("writing {}", deployed.display()))?;
    println!("{}: {} bytes", deployed.display(), bytes.len());
    Ok(())
}

/// The name of the largest function, and how many instructions it has.
fn largest_function(bytes: &[u8]) -> Result<(String, u64)> {
    let module = ModuleConfig::new().parse(bytes)?;
    let largest = module.funcs.iter_local().max_by_key(|(_, function)| function.size());
    let (id, function) = largest.context("the module has no functions")?;
    let name = module.funcs.get(id).name.clone().unwrap_or_else(|| "without a name".to_owned());
    Ok((name, function.size()))
}

fn stripped(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut config = ModuleConfig::new();
    config.generate_name_section(false).generate_producers_section(false);
    let mut module = config.parse(bytes)?;
    for name in KEPT {
        let found = module.exports.iter().any(|export| export.name == *name);
        ensure!(found, "the linked module does not export {name}");
    }
    let dropped: Vec<_> = module
        .exports
        .iter()
        .filter(|export| !KEPT.contains(&export.name.as_str()))
        .map(|export| (export.id(), matches!(export.item, ExportItem::Memory(_))))
        .collect();
    for (export, is_memory) in dropped {
        ensure!(!is_memory, "the host needs the memory");
        module.exports.delete(export);
    }
    let sections: Vec<_> = module.customs.iter().map(|(id, _)| id).collect();
    for section in sections {
        module.customs.delete(section);
    }
    walrus::passes::gc::run(&mut module);
    functions::compacted(&module.emit_wasm())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use walrus::Module;

    /// What Envoy offers of WASI (proxy-wasm-cpp-host, `exports.h`) and the module uses.
    const WASI: &[&str] = &[
        "clock_time_get",
        "environ_get",
        "environ_sizes_get",
        "fd_write",
        "proc_exit",
        "random_get",
    ];

    fn deployed() -> Module {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/otel-proxy-wasm.wasm");
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run `make build`", path.display()));
        assert!(bytes.len() <= MAX_SIZE, "{} bytes are more than {MAX_SIZE}", bytes.len());
        Module::from_buffer(&bytes).expect("a valid module")
    }

    #[test]
    fn the_module_exports_what_the_filter_needs_and_nothing_else() {
        let module = deployed();
        let exports: BTreeSet<_> = module.exports.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(exports, KEPT.iter().copied().collect());
        for costly in ["body", "request_trailers"] {
            let found = exports.iter().find(|export| export.contains(costly));
            assert_eq!(found, None, "each {costly} callback would cost a call for nothing");
        }
    }

    #[test]
    fn the_module_imports_what_envoy_offers() {
        for import in deployed().imports.iter() {
            let offered = match import.module.as_str() {
                "env" => import.name.starts_with("proxy_"),
                "wasi_snapshot_preview1" => WASI.contains(&import.name.as_str()),
                _ => false,
            };
            assert!(offered, "{}.{} is not offered", import.module, import.name);
        }
    }
}
